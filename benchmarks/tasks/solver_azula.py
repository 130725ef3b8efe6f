import torch
from azula.denoise import KarrasDenoiser
from azula.nn.unet import UNet
from azula.noise import VPSchedule
from azula.sample import Sampler
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet(1, 1, cond_channels=1, hid_channels=(64, 96), hid_blocks=(3, 3))

    def forward(self, x, t):
        return self.unet(x, cond=t.reshape(-1, 1, 1, 1).expand(len(x), 1, 28, 28))


class Midpoint(Sampler):
    def __init__(self, denoiser, **kwargs):
        super().__init__(**kwargs)
        self.denoiser = denoiser

    def move(self, x_t, x_q, q, t, s):
        (a_q, s_q), (a_t, s_t) = self.denoiser.schedule(q), self.denoiser.schedule(t)
        a_s, s_s = self.denoiser.schedule(s)
        noise = (x_q - a_q * self.denoiser(x_q, q).mean) / s_q
        return a_s / a_t * x_t + (s_s - a_s / a_t * s_t) * noise

    def step(self, x_t, t, s, **kwargs):
        m = (t + s) / 2
        return self.move(x_t, self.move(x_t, x_t, t, t, m), m, t, s)


denoiser = KarrasDenoiser(Backbone(), VPSchedule())
denoiser.load_state_dict(torch.load("azula.pt", weights_only=True))
sampler = Midpoint(denoiser.eval(), steps=9, silent=True)
torch.manual_seed(0)
images = sampler(sampler.init((4, 1, 28, 28)))
