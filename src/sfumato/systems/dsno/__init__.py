"""dsno."""
