"""Pictures of an episode as a GIF."""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purejaxppo.export.extras import check_installed
from purejaxppo.study.storage import disk

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = 128
"""Of a picture; gymnasium's classic environments draw with fewer, but for edges."""


def prepare_drawing() -> None:
    """Have gymnasium draw without a screen and without sound; before its first picture.

    What the user has set in the environment (SDL_VIDEODRIVER, SDL_AUDIODRIVER) stands.

    Raises:
      ValueError: a package is missing.
    """
    check_installed("play", "pygame", "PIL")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def reduced(frame: np.ndarray) -> "Image":
    """A frame `[height, width, 3]` with few colours, in a third of the memory."""
    from PIL import Image

    method = Image.Quantize.FASTOCTREE
    return Image.fromarray(frame).quantize(COLOURS, method=method)


def write_gif(frames: Sequence["Image"], path: Path | str, fps: float) -> Path:
    """Write frames as a GIF that repeats, each shown for 1 / fps to a hundredth second.

    Args:
      frames: at least one; from `play`.
      path: of the file, which is replaced.
      fps: frames per second, at most 100.

    Returns:
      `path`.

    Raises:
      ValueError: there is no frame, or the path is a link, or not writable.
      disk.WriteError: it could not be written.
    """
    if not frames:
        raise ValueError("Expected frames for a GIF, got none.")
    first, *rest = frames
    milliseconds, gif = 10 * round(100 / fps), BytesIO()
    first.save(
        gif, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0
    )
    path = Path(path)
    disk.check_file(path)
    disk.write_bytes(path, gif.getvalue())
    return path
