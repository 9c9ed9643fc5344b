"""How a study's runs are compiled, planned and trained."""
