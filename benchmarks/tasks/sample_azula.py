import torch
from azula.denoise import KarrasDenoiser
from azula.nn.unet import UNet
from azula.noise import VPSchedule
from azula.sample import DDIMSampler
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet(1, 1, cond_channels=1, hid_channels=(64, 96), hid_blocks=(3, 3))

    def forward(self, x, t):
        return self.unet(x, cond=t.reshape(-1, 1, 1, 1).expand(len(x), 1, 28, 28))


denoiser = KarrasDenoiser(Backbone(), VPSchedule())
denoiser.load_state_dict(torch.load("azula.pt", weights_only=True))
sampler = DDIMSampler(denoiser.eval(), steps=18, silent=True)
torch.manual_seed(0)
images = sampler(sampler.init((16, 1, 28, 28)))
