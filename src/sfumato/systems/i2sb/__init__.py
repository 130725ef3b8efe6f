"""I²SB: Schrödinger bridges that restore pictures."""

from sfumato.system import CommandEntry, KindEntry, Paper, RecipeEntry, System

SYSTEM = System(
    "i2sb", "I²SB",
    Paper("I²SB: Image-to-Image Schrödinger Bridge",
        "Liu, Vahdat, Huang, Theodorou, Nie, Anandkumar", 2023, "2302.05872"),
    "docs/i2sb.md",
    recipes=(
        RecipeEntry("i2sb", "sfumato.systems.i2sb.recipe",
            "a restorer of pictures: a Schrödinger bridge (I²SB)",
            "sfumato.systems.i2sb.options:Config"),
    ),
    commands=(
        CommandEntry("restore", "sfumato.systems.i2sb.commands.restore",
            "restore pictures: blur, noise, JPEG, lost pixels, colours or parts"),
        CommandEntry("degrade", "sfumato.systems.i2sb.commands.degrade",
            "make bad pictures of good ones, to restore"),
    ),
    kinds=(KindEntry("sfumato.systems.i2sb.model:RestorationModel", "restorer", "a restorer"),),
)  # fmt: skip
