import sfumato as sf
from sfumato.nn import UNetConfig
from sfumato.systems.edm.images import Images, run
from sfumato.train import TrainConfig

network = UNetConfig(1, 1, channels=32, multipliers=(1, 2), blocks=2, attention=())
train = TrainConfig(steps=20, batch=16, sheet_every=0, quiet=True)
images = sf.load(run(Images("run", path="pictures", resolution=28, channels=1, network=network,
                            train=train))).sample(4, steps=18)  # fmt: skip
