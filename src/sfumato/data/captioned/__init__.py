"""Pictures with sentences, for text-to-image models."""

from sfumato.data.captioned.avatars import avatar_sentences, captioned_avatars
from sfumato.data.captioned.base import Captioned, Captions, Made
from sfumato.data.captioned.emoji import captioned_emoji, emoji_sentences
from sfumato.data.captioned.folders import captioned_folder
from sfumato.data.captioned.joined import joined_captioned
from sfumato.data.captioned.scenes import Scene, Scenes, scenes
from sfumato.data.captioned.stamps import captioned_stamps
from sfumato.data.captioned.things import THINGS, Thing

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
