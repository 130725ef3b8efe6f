"""Differentially private training: see docs/private.md, and `descent` for the equations."""
