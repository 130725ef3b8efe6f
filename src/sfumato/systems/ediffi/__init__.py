"""ediffi."""
