"""The marker of a figure that there is none of, such as the mean return of no episodes.

JAX stops at every NaN where `jax_debug_nans` is on, also at one that is meant. There
the marker is the least float32, so that a run stops only at a NaN that nobody meant.
"""

from typing import Any

import jax
import numpy as np

LEAST = np.finfo(np.float32).min


def missing() -> np.float32:
    """Return NaN, or the least float32 where JAX stops at NaNs."""
    config: Any = jax.config
    return LEAST if config.jax_debug_nans else np.float32(np.nan)


def show_missing(figures: np.ndarray) -> np.ndarray:
    """Return figures in which NaN is the only marker, on the host.

    >>> show_missing(np.array([1.0, LEAST], np.float32))
    array([ 1., nan], dtype=float32)
    """
    if not np.issubdtype(figures.dtype, np.floating):
        return figures
    return np.where(figures == LEAST, np.float32(np.nan), figures)
