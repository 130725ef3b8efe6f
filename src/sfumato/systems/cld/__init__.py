"""CLD: critically-damped Langevin diffusion, noise that enters through a velocity."""

from sfumato.system import Paper, RecipeEntry, SolverEntry, System

SYSTEM = System(
    "cld", "CLD",
    Paper("Score-Based Generative Modeling with Critically-Damped Langevin Diffusion",
        "Dockhorn, Vahdat, Kreis", 2022, "2112.07068"),
    "docs/cld.md",
    solvers=(
        SolverEntry("sscs", "sfumato.systems.cld.sscs:SSCS", "SSCS (CLD)",
            "symmetric splitting of the reverse SDE in phase space", noisy=True, compared=(2,)),
    ),
    recipes=(
        RecipeEntry("cld", "sfumato.systems.cld.recipe",
            "critically-damped Langevin diffusion, 28x28 images",
            "sfumato.systems.cld.options:Config"),
        RecipeEntry("cld-points", "sfumato.systems.cld.points", "the same in the plane",
            "sfumato.systems.cld.options:DampedPoints"),
    ),
)  # fmt: skip
