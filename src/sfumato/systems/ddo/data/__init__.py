"""Data that are functions: fields on uniform grids, by tested generators or from files."""
