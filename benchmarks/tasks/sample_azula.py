import torch
from azula.denoise import KarrasDenoiser
from azula.nn.unet import UNet
from azula.noise import VPSchedule
from azula.sample import DDIMSampler
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 64), nn.SiLU())
        self.unet = UNet(1, 1, 64, hid_channels=(32, 64), hid_blocks=(2, 2))

    def forward(self, x, t):
        return self.unet(x, self.time(t.reshape(-1, 1)).expand(len(x), -1))


denoiser = KarrasDenoiser(Backbone(), VPSchedule())
denoiser.load_state_dict(torch.load("MODEL", weights_only=True))
sampler = DDIMSampler(denoiser.eval(), steps=18, silent=True)
torch.manual_seed(0)
with torch.no_grad():
    images = sampler(sampler.init((16, 1, 28, 28)))
