"""DDO: diffusion of functions, with continuous random fields for noise."""

from sfumato.system import CommandEntry, KindEntry, Paper, RecipeEntry, System

SYSTEM = System(
    "ddo", "DDO",
    Paper("Score-Based Diffusion Models in Function Space",
        "Lim, Kovachki, Baptista, Beckham, Azizzadenesheli, Kossaifi, Voleti, Song, Kreis, Kautz, "
        "Pal, Vahdat, Anandkumar", 2023, "2302.07400"),
    "docs/ddo.md",
    recipes=(RecipeEntry("fields", "sfumato.systems.ddo.recipe",
        options="sfumato.systems.ddo.options:Config"),),
    commands=(
        CommandEntry("fields", "sfumato.systems.ddo.commands",
            "functions as data: train at one resolution, sample at any (DDO)"),
    ),
    kinds=(KindEntry("sfumato.systems.ddo.model:FieldModel", "field model", "a model of fields"),),
    parts=(
        "sfumato.systems.ddo.field:GaussianField", "sfumato.systems.ddo.field:OpenField",
        "sfumato.systems.ddo.kernel:Matern", "sfumato.systems.ddo.kernel:SquaredExponential",
        "sfumato.systems.ddo.kernel:Laplacian", "sfumato.systems.ddo.kernel:Measured",
        "sfumato.systems.ddo.nn.operator:UNOConfig", "sfumato.systems.ddo.nn.operator:FNOConfig",
        "sfumato.systems.ddo.data.base:Axis", "sfumato.systems.ddo.data.base:Frame",
        "sfumato.systems.ddo.data.base:Quantity", "sfumato.systems.ddo.model:Scale",
        "sfumato.systems.ddo.drift:PowerCorrection",
    ),
)  # fmt: skip
