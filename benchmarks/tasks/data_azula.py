from pathlib import Path

import numpy as np
import torch
from azula.denoise import KarrasDenoiser
from azula.nn.unet import UNet
from azula.noise import VPSchedule
from azula.sample import DDIMSampler
from PIL import Image
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet(1, 1, cond_channels=1, hid_channels=(64, 96), hid_blocks=(3, 3))

    def forward(self, x, t):
        return self.unet(x, cond=t.reshape(-1, 1, 1, 1).expand(len(x), 1, 28, 28))


files = sorted(Path("pictures").glob("*.png"))
data = torch.stack([torch.from_numpy(np.array(Image.open(f).convert("L"))) for f in files])
data = data[:, None].float() / 127.5 - 1
denoiser = KarrasDenoiser(Backbone(), VPSchedule())
optimizer = torch.optim.AdamW(denoiser.parameters(), 1e-3)
for _ in range(20):
    loss = denoiser.loss(data[torch.randint(len(data), (16,))], torch.rand(16))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save(denoiser.state_dict(), "run-azula.pt")
sampler = DDIMSampler(denoiser.eval(), steps=18, silent=True)
images = sampler(sampler.init((4, 1, 28, 28)))
