"""What a run is told: fields, techniques, presets."""
