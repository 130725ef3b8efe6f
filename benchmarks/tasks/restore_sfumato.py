import sfumato as sf

images = sf.load("restore").restore("bad.jpg", task="jpeg", seed=0)
