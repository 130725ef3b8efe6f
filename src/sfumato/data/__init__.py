"""Data sets, each with a card that says where it comes from and under which licence."""

from sfumato.data.faces import AVATAR_AXES, Avatar, avatar, avatars
from sfumato.data.fashion import FASHION_CLASSES, fashion_mnist
from sfumato.data.fetch import fetch
from sfumato.data.folders import folder
from sfumato.data.handwritten import DIGIT_CLASSES, digits
from sfumato.data.packages import DIGITS, FASHION_MNIST, MOBILENET, PACKAGES, Package
from sfumato.data.places import data_root
from sfumato.data.plane import PointName, modes, points
from sfumato.data.sets import DataCard, ImageSet, LabelAxis, PointSet, to_uint8
from sfumato.data.weights import mobilenet_weights_path

__all__ = [
    "AVATAR_AXES",
    "DIGITS",
    "DIGIT_CLASSES",
    "FASHION_CLASSES",
    "FASHION_MNIST",
    "MOBILENET",
    "PACKAGES",
    "Avatar",
    "DataCard",
    "ImageSet",
    "LabelAxis",
    "Package",
    "PointName",
    "PointSet",
    "avatar",
    "avatars",
    "data_root",
    "digits",
    "fashion_mnist",
    "fetch",
    "folder",
    "mobilenet_weights_path",
    "modes",
    "points",
    "to_uint8",
]
