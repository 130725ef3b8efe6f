"""genie."""
