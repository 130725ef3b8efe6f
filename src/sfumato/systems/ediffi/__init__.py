"""eDiff-I: text to image with experts for parts of the noise levels, and painted words."""

from sfumato.system import CommandEntry, KindEntry, Paper, RecipeEntry, System

SYSTEM = System(
    "ediffi", "eDiff-I",
    Paper("eDiff-I: Text-to-Image Diffusion Models with an Ensemble of Expert Denoisers",
        "Balaji, Nah, Huang, Vahdat, Song, Zhang, Kreis, Aittala, Aila, Laine, Catanzaro, Karras, "
        "Liu", 2022, "2211.01324"),
    "docs/ediffi.md",
    recipes=(
        RecipeEntry("clip", "sfumato.systems.ediffi.clip", "a small CLIP of captioned pictures",
            "sfumato.systems.ediffi.options:Clip"),
        RecipeEntry("imagine", "sfumato.systems.ediffi.recipe",
            "text to image, with experts (eDiff-I)", "sfumato.systems.ediffi.options:Config"),
    ),
    commands=(
        CommandEntry("imagine", "sfumato.systems.ediffi.commands.imagine",
            "draw what a sentence says; paint its words, show a style (eDiff-I)"),
        CommandEntry("experts", "sfumato.systems.ediffi.commands.experts",
            "models for parts of the noise levels: plan a split, join (eDiff-I)"),
    ),
    kinds=(
        KindEntry("sfumato.systems.ediffi.model:PromptedModel", "prompted model",
            "a model of prompts"),
    ),
    parts=("sfumato.systems.ediffi.model:EncoderConfig", "sfumato.systems.ediffi.options:Node"),
    tab="sfumato.systems.ediffi.studio:open_tab",
)  # fmt: skip
