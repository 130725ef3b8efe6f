"""DPDM: differentially private diffusion models (arXiv 2210.09929); see `descent`."""
