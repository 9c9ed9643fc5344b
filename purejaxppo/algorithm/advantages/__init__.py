"""Advantages, and the targets of the critic."""
