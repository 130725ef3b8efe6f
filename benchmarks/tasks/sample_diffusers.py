import torch
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained("MODEL")
generator = torch.Generator().manual_seed(0)
images = pipeline(16, generator=generator, num_inference_steps=18, output_type="np").images
