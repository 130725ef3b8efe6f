"""GENIE: second-order Taylor steps with a learned or exact derivative."""

from sfumato.system import KindEntry, Paper, RecipeEntry, SolverEntry, System

SYSTEM = System(
    "genie", "GENIE",
    Paper("GENIE: Higher-Order Denoising Diffusion Solvers", "Dockhorn, Vahdat, Kreis", 2022,
        "2210.05475"),
    "docs/genie.md",
    solvers=(
        SolverEntry("genie", "sfumato.systems.genie.taylor:Taylor", "GENIE",
            "second-order Taylor steps, for a model with a derivative head",
            guides="sfumato.systems.genie.guidance:guided",
            head="sfumato.systems.genie.derivative:Differentiable",
            advice="{name!r} has no derivative head: train one with `sfumato train genie --model "
                   "{name} --out runs/genie` and sample runs/genie, or take --solver taylor, "
                   "which computes the derivative at three evaluations a step"),
        SolverEntry("taylor", "sfumato.systems.genie.taylor:Taylor", "Taylor",
            "second-order Taylor steps with the derivative computed exactly", evaluations=(3, -2),
            compared=(), wraps="sfumato.systems.genie.derivative:ExactDerivative"),
    ),
    recipes=(
        RecipeEntry("genie", "sfumato.systems.genie.recipe",
            "a derivative head for a trained model (GENIE)",
            "sfumato.systems.genie.options:Config"),
    ),
    kinds=(KindEntry("sfumato.systems.genie.model:DerivativeModel"),),
    parts=("sfumato.systems.genie.model:Base",),
)  # fmt: skip
