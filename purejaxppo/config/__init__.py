"""Configuration of a run: its fields, techniques and presets."""
