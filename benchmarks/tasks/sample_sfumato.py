import sfumato as sf

images = sf.load("fashion").sample(16, labels="Sneaker", seed=0, steps=18)
