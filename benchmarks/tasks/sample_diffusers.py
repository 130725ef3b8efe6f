import torch
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained("model")
seed = torch.Generator().manual_seed(0)
images = pipeline(16, seed, num_inference_steps=18, output_type="np").images
