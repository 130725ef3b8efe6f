"""One room for each paper: its networks, losses, data, recipes, commands and measures.

A room's ``__init__`` holds ``SYSTEM``, what it declares, and nothing that takes long to import; a
new system is a folder with that, and its name below. Rooms never import each other: what two of
them use moves down into the library.

Still to come: EditGAN (2111.03186), BigDatasetGAN (2201.04684), causal scenes (2202.03651),
Polymorphic-GAN (2206.02903), LION (2210.06978), PhysDiff (2212.02500), ODISE (2303.04803) and
LDEQ (2304.00600).
"""

SYSTEMS = ("edm", "cld", "ddgan", "genie", "dsno", "dpdm", "i2sb", "ddo", "ediffi")
