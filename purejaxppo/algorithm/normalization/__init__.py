"""Running statistics, and what they normalise."""
