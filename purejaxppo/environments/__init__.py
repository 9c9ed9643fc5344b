"""Environment protocol, spaces, wrappers and suites."""
