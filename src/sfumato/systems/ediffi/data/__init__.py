"""Pictures with sentences, for text-to-image models."""

from sfumato.systems.ediffi.data.avatars import avatar_sentences, captioned_avatars
from sfumato.systems.ediffi.data.base import Captioned, Captions, Made
from sfumato.systems.ediffi.data.emoji import captioned_emoji, emoji_sentences
from sfumato.systems.ediffi.data.folders import captioned_folder
from sfumato.systems.ediffi.data.joined import joined_captioned
from sfumato.systems.ediffi.data.scenes import Scene, Scenes, scenes
from sfumato.systems.ediffi.data.stamps import captioned_stamps
from sfumato.systems.ediffi.data.things import THINGS, Thing

__all__ = [
    "THINGS",
    "Captioned",
    "Captions",
    "Made",
    "Scene",
    "Scenes",
    "Thing",
    "avatar_sentences",
    "captioned_avatars",
    "captioned_emoji",
    "captioned_folder",
    "captioned_stamps",
    "emoji_sentences",
    "joined_captioned",
    "scenes",
]
