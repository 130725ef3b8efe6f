from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from PIL import Image

files = sorted(Path("pictures").glob("*.png"))
data = torch.stack([torch.from_numpy(np.array(Image.open(f).convert("L"))) for f in files])
data = data[:, None].float() / 127.5 - 1
down, up = ("DownBlock2D", "DownBlock2D"), ("UpBlock2D", "UpBlock2D")
sizes = {"block_out_channels": (32, 64), "norm_num_groups": 8}
unet = UNet2DModel(28, 1, 1, down_block_types=down, up_block_types=up, **sizes)
scheduler = DDIMScheduler()
optimizer = torch.optim.AdamW(unet.parameters(), 1e-3)
for _ in range(20):
    x = data[torch.randint(len(data), (16,))]
    noise, t = torch.randn_like(x), torch.randint(1000, (16,))
    loss = (unet(scheduler.add_noise(x, noise, t), t).sample - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
pipeline = DDIMPipeline(unet, scheduler)
pipeline.save_pretrained("run-diffusers")
images = pipeline(4, num_inference_steps=18, output_type="np").images
