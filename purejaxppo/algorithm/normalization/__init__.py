"""Running statistics that normalize observations, rewards and values."""
