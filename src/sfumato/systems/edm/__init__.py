"""EDM: the plain model of images and points that the other rooms start from."""

from sfumato.system import Paper, RecipeEntry, System

_IMAGES = "sfumato.systems.edm.images"
_OPTIONS = "sfumato.systems.edm.options"

SYSTEM = System(
    "edm", "EDM",
    Paper("Elucidating the Design Space of Diffusion-Based Generative Models",
        "Karras, Aittala, Aila, Laine", 2022, "2206.00364"),
    "docs/core.md",
    recipes=(
        RecipeEntry("fashion", _IMAGES, "Fashion-MNIST 28x28, class-conditional EDM",
            f"{_OPTIONS}:Fashion"),
        RecipeEntry("avatars", _IMAGES, "illustrated faces, conditional on attributes",
            f"{_OPTIONS}:Avatars"),
        RecipeEntry("digits", _IMAGES, "handwritten digits 28x28, class-conditional EDM",
            f"{_OPTIONS}:Digits"),
        RecipeEntry("images", _IMAGES, "your own folder or zip of images", f"{_OPTIONS}:Images"),
        RecipeEntry("points", "sfumato.systems.edm.points",
            "points in the plane, under a process you choose", f"{_OPTIONS}:Points"),
    ),
)  # fmt: skip
