"""The screen, on which texts stand as they are."""

from rich.console import Console


def make_console(quiet: bool = False) -> Console:
    """Return a console that takes no text for markup: it may be of another's study."""
    return Console(quiet=quiet, markup=False, emoji=False)
