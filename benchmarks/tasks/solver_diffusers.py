import torch
from diffusers import DDIMPipeline, DDIMScheduler
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput


class Midpoint(DDIMScheduler):
    def set_timesteps(self, steps, device=None):
        ends = torch.linspace(999, 0, steps + 1)
        self.timesteps = torch.stack([ends[:-1], (ends[:-1] + ends[1:]) / 2], 1).flatten().long()
        self.ends = ends.long()
        self.done = 0

    def move(self, x, noise, t, s):
        a_t, a_s = self.alphas_cumprod[t], self.alphas_cumprod[s]
        x0 = (x - (1 - a_t).sqrt() * noise) / a_t.sqrt()
        return a_s.sqrt() * x0 + (1 - a_s).sqrt() * noise

    def step(self, noise, timestep, sample, **kwargs):
        i, half = divmod(self.done, 2)
        self.done += 1
        if not half:
            self.start = sample
            moved = self.move(sample, noise, timestep, self.timesteps[2 * i + 1])
        else:
            moved = self.move(self.start, noise, self.ends[i], self.ends[i + 1])
        return DDIMSchedulerOutput(prev_sample=moved)


pipeline = DDIMPipeline.from_pretrained("model")
pipeline.register_modules(scheduler=Midpoint())
seed = torch.Generator().manual_seed(0)
images = pipeline(4, seed, num_inference_steps=9, output_type="np").images
