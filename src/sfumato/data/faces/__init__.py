"""Avatars: illustrated faces whose attributes, parts and part positions are known exactly."""

from sfumato.data.faces.cache import avatars
from sfumato.data.faces.choose import attributes_of, caption
from sfumato.data.faces.styles import AVATAR_AXES

__all__ = ["AVATAR_AXES", "attributes_of", "avatars", "caption"]
