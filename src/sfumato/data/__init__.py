"""Data sets, each with a card that says where it comes from and under which licence."""

from sfumato.data.faces import AVATAR_AXES, Avatar, avatar, avatars
from sfumato.data.fetch import fetch, mobilenet_weights_path
from sfumato.data.folders import folder
from sfumato.data.mnist import DIGIT_CLASSES, FASHION_CLASSES, digits, fashion_mnist
from sfumato.data.packages import DIGITS, FASHION_MNIST, MOBILENET, PACKAGES, Package
from sfumato.data.places import data_root
from sfumato.data.plane import PointName, modes, points
from sfumato.data.sets import DataCard, ImageSet, LabelAxis, PointSet, to_uint8

__all__ = [
    "AVATAR_AXES", "DIGITS", "DIGIT_CLASSES", "FASHION_CLASSES", "FASHION_MNIST", "MOBILENET",
    "PACKAGES", "Avatar", "DataCard", "ImageSet", "LabelAxis", "Package", "PointName", "PointSet",
    "avatar", "avatars", "data_root", "digits", "fashion_mnist", "fetch", "folder",
    "mobilenet_weights_path", "modes", "points", "to_uint8",
]  # fmt: skip
