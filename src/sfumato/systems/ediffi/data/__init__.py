"""Pictures with sentences, for text-to-image models."""

from sfumato.systems.ediffi.data.base import Captioned, Captions, LazySequence, joined_captioned
from sfumato.systems.ediffi.data.drawings import (
    avatar_sentences,
    captioned_avatars,
    captioned_emoji,
    captioned_stamps,
    emoji_sentences,
)
from sfumato.systems.ediffi.data.folders import captioned_folder
from sfumato.systems.ediffi.data.layout import THINGS, Thing
from sfumato.systems.ediffi.data.scenes import Scene, Scenes, scenes

__all__ = [
    "THINGS", "Captioned", "Captions", "LazySequence", "Scene", "Scenes", "Thing",
    "avatar_sentences", "captioned_avatars", "captioned_emoji", "captioned_folder",
    "captioned_stamps", "emoji_sentences", "joined_captioned", "scenes",
]  # fmt: skip
