"""Words: encoders of sentences and pictures, and which tokens of a sentence are a phrase."""
