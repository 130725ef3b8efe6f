import torch
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")
images = pipeline("a fox on snow", generator=torch.Generator().manual_seed(0)).images
