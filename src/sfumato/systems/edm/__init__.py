"""EDM: the plain model of images and points that the other rooms start from."""

from sfumato.system import Paper, RecipeEntry, System

SYSTEM = System(
    "edm",
    "EDM",
    Paper(
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        "Karras, Aittala, Aila, Laine",
        2022,
        "2206.00364",
    ),
    "docs/training.md",
    recipes=(
        RecipeEntry(
            "fashion", "sfumato.systems.edm.fashion", "Fashion-MNIST 28x28, class-conditional EDM"
        ),
        RecipeEntry(
            "avatars", "sfumato.systems.edm.avatars", "illustrated faces, conditional on attributes"
        ),
        RecipeEntry(
            "digits",
            "sfumato.systems.edm.digits",
            "handwritten digits 28x28, class-conditional EDM",
        ),
        RecipeEntry("images", "sfumato.systems.edm.images", "your own folder or zip of images"),
        RecipeEntry(
            "points",
            "sfumato.systems.edm.points",
            "points in the plane, under a process you choose",
        ),
    ),
)
