"""Sweeps: grids of settings, and their groups."""
