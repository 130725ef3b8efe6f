"""ddgan."""
