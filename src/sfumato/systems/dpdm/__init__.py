"""DPDM: training under differential privacy, with a ledger and a certificate; see `descent`."""

from sfumato.system import CommandEntry, Paper, RecipeEntry, System

SYSTEM = System(
    "dpdm", "DPDM",
    Paper("Differentially Private Diffusion Models", "Dockhorn, Cao, Vahdat, Kreis", 2023,
        "2210.09929"),
    "docs/dpdm.md",
    recipes=(RecipeEntry("private", "sfumato.systems.dpdm.recipe",
        options="sfumato.systems.dpdm.options:Config"),),
    commands=(
        CommandEntry("private", "sfumato.systems.dpdm.commands",
            "train under differential privacy, export with a certificate, check"),
    ),
    beside="sfumato.systems.dpdm.certificate:files_of_promise",
)  # fmt: skip
