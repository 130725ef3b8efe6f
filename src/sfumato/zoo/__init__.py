"""Shipped weights: each a folder ``<name>/`` beside this file, with a card.

A folder of the zoo holds

* ``model.safetensors`` the weights (of the moving average, where training kept one),
* ``model.json``        how to build the network and its process, as in every checkpoint,
* ``card.json``         what a person should know, see :class:`ModelCard`,
* ``SHA256SUMS``        checksums of the three; whatever does not match is refused.

Folders named in the environment variable ``SFUMATO_ZOO`` (separated as in PATH) are searched
too, after this one. Nothing here imports torch; `sfumato.load` loads a model.
"""

from sfumato.files.cards import ModelCard, card, cards, find, folders, shipped

__all__ = ["ModelCard", "card", "cards", "find", "folders", "shipped"]
