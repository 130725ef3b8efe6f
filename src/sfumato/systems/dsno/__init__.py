"""DSNO: an operator that learns a model's whole paths and draws in one evaluation."""

from sfumato.system import CommandEntry, KindEntry, Paper, RecipeEntry, System

SYSTEM = System(
    "dsno", "DSNO",
    Paper("Fast Sampling of Diffusion Models via Operator Learning",
        "Zheng, Nie, Vahdat, Azizzadenesheli, Anandkumar", 2023, "2211.13449"),
    "docs/dsno.md",
    recipes=(
        RecipeEntry("dsno", "sfumato.systems.dsno.recipe",
            "an operator that learns whole trajectories of a model",
            "sfumato.systems.dsno.options:Config"),
    ),
    commands=(
        CommandEntry("trajectories", "sfumato.systems.dsno.command",
            "keep a model's paths from noise to data, to learn from (DSNO)"),
    ),
    kinds=(KindEntry("sfumato.systems.dsno.model:OperatorModel"),),
)  # fmt: skip
