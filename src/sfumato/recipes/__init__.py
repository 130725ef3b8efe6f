"""Recipes: one module per data set or published system, with how its parts are put together.

Every recipe has a frozen dataclass `Config` and a function ``run(config) -> Path``, which trains
and returns the run folder.
"""
