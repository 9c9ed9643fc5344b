"""Devices and processes that share a study."""
