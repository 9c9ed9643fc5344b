"""Policies out of their study: as files for any program with JAX, and as a player."""

from purejaxppo.exporting.counterparts import COUNTERPARTS
from purejaxppo.exporting.gifs import write_gif
from purejaxppo.exporting.playing import Played, play
from purejaxppo.exporting.portable import PortablePolicy, make_portable
from purejaxppo.exporting.reading import read_policy
from purejaxppo.exporting.writing import export_policy, export_study

__all__ = [
    "COUNTERPARTS",
    "Played",
    "PortablePolicy",
    "export_policy",
    "export_study",
    "make_portable",
    "play",
    "read_policy",
    "write_gif",
]
