"""Words: which tokens of a sentence are a phrase."""
