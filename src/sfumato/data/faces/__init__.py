"""Avatars: illustrated faces whose attributes, parts and part positions are known exactly."""

from sfumato.data.faces.cache import avatars
from sfumato.data.faces.choose import attributes_of, caption
from sfumato.data.faces.one import Avatar, avatar
from sfumato.data.faces.parts import PARTS, FaceParts
from sfumato.data.faces.styles import AVATAR_AXES

__all__ = [
    "AVATAR_AXES", "PARTS", "Avatar", "FaceParts", "attributes_of", "avatar", "avatars", "caption",
]  # fmt: skip
