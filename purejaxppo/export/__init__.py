"""Export policies as files that any JAX program can load, and play them."""

from purejaxppo.export.gifs import write_gif
from purejaxppo.export.gymnasium_ids import COUNTERPARTS
from purejaxppo.export.playing import Played, play
from purejaxppo.export.policy import PortablePolicy, make_portable
from purejaxppo.export.reading import read_policy
from purejaxppo.export.writing import export_policy, export_study

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
