"""Files of a study: atomic writes, checked reads, checkpoints and locks."""
