"""A study's files: written whole or not at all, and read with care."""
