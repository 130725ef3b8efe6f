import sfumato as sf

images = sf.load("scenes").imagine("a fox on snow", n=1, seed=0, enlarge="scenes-64")
