"""DDGAN: a generator that draws where a denoiser averages, for a few large steps."""

from sfumato.system import KindEntry, Paper, RecipeEntry, System

SYSTEM = System(
    "ddgan", "DDGAN",
    Paper("Tackling the Generative Learning Trilemma with Denoising Diffusion GANs",
        "Xiao, Kreis, Vahdat", 2022, "2112.07804"),
    "docs/ddgan.md",
    recipes=(
        RecipeEntry("ddgan", "sfumato.systems.ddgan.recipe",
            "a denoising diffusion GAN: few, large steps",
            "sfumato.systems.ddgan.options:Config"),
    ),
    kinds=(KindEntry("sfumato.systems.ddgan.model:ImplicitModel"),),
)  # fmt: skip
