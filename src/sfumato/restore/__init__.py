"""Restoring files: pictures with all that they say, folders of them, and what is done to one."""

from sfumato.restore.picture import Picture, read_mask, read_picture
from sfumato.restore.work import Restored, Restorer, Wish, restore_picture
from sfumato.restore.write import WRITTEN, write_picture

__all__ = [
    "WRITTEN",
    "Picture",
    "Restored",
    "Restorer",
    "Wish",
    "read_mask",
    "read_picture",
    "restore_picture",
    "write_picture",
]
