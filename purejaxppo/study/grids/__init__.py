"""Grids of settings for sweeps, and the groups that share a program."""
