"""A reader of scenes of emoji, which measures whether pictures show what their prompts ask for."""
