"""The files of restoration: pictures with all that they say, folders, and what is done to one.

What restores is anything `RestorerLike`; the models that do are in `sfumato.recipes.restorer`.
"""

from sfumato.restore.picture import Picture, read_mask, read_picture
from sfumato.restore.work import Restored, RestorerLike, Wish, restore_picture
from sfumato.restore.write import WRITTEN, write_picture

__all__ = [
    "WRITTEN",
    "Picture",
    "Restored",
    "RestorerLike",
    "Wish",
    "read_mask",
    "read_picture",
    "restore_picture",
    "write_picture",
]
