"""Data sets, each with a card that says where it comes from and under which licence."""

from sfumato.data.faces import AVATAR_AXES, avatars
from sfumato.data.fashion import FASHION_CLASSES, fashion_mnist
from sfumato.data.places import data_root
from sfumato.data.sets import Card, ImageSet, LabelAxis, PointSet, to_uint8

__all__ = [
    "AVATAR_AXES",
    "FASHION_CLASSES",
    "Card",
    "ImageSet",
    "LabelAxis",
    "PointSet",
    "avatars",
    "data_root",
    "fashion_mnist",
    "to_uint8",
]
