"""Bootstrap intervals: how far a statistic would move with other runs.

A resample is how often each run counts (see `aggregates`), so that nothing is copied
and scores are sorted once. Source: Efron and Tibshirani, "An introduction to the
bootstrap", 1993, chapters 13 and 14.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from purejaxppo.reliability.arrays import Array, as_floating, gap, mean_where

Method: TypeAlias = Literal["percentile", "basic", "bc", "bca"]

METHODS = ("percentile", "basic", "bc", "bca")

LACKING = 0.05
"""The largest share of resamples that an interval may leave out.

Where some runs lack a score, a resample may draw too few that have one, for a tail for
instance. The interval is then that of the other resamples. With at most 5 % left out, a
95 % interval still holds 90 % of all resamples (0.95 x 0.95); with more it would be
called by a confidence that it does not have.
"""

CHUNK = 64
"""Resamples at once, which bounds the memory; more are slower, out of the cache."""

Statistic: TypeAlias = Callable[..., Array]
"""(counts of each sample, `[runs, ..., resamples]`) -> `[..., resamples]`."""


class Interval(NamedTuple):
    """A statistic, and the ends of its confidence interval, all `[...]`."""

    estimate: Array
    low: Array
    high: Array


def resample(
    key: Any, shapes: Sequence[tuple[int, ...]], num_resamples: int
) -> list[Array]:
    """Draw as many runs as there are, with replacement, in each sample by itself.

    Stratified: in a sample `[runs, tasks]` each task's runs are drawn by themselves.

    Args:
        key: a JAX key, or an integer seed (NumPy's generator).
        shapes: `(runs, ...)` of each sample, static.
        num_resamples: static.

    Returns:
        How often each run was drawn, integers `[runs, ..., resamples]` for each sample.

    Raises:
        ValueError: there is no resample, or a sample without a run.
    """
    if num_resamples < 1:
        raise ValueError(
            f"Expected num_resamples to be at least 1, got {num_resamples!r}."
        )
    if any(0 in shape[:1] for shape in shapes):
        raise ValueError(f"Expected at least one run in each sample, got {shapes}.")
    if isinstance(key, int | np.integer):
        generator = np.random.default_rng(int(key))
        return [_resample_by(generator, shape, num_resamples) for shape in shapes]
    import jax

    keys = jax.random.split(key, len(shapes))
    return [
        count_draws(jax.random.randint(k, (num_resamples, *shape), 0, shape[0]))
        for k, shape in zip(keys, shapes, strict=True)
    ]


def _resample_by(
    generator: np.random.Generator, shape: tuple[int, ...], num_resamples: int
) -> np.ndarray:
    counts = np.empty((*shape, num_resamples), np.int32)
    for i in range(0, num_resamples, CHUNK):
        size = min(CHUNK, num_resamples - i)
        draws = generator.integers(shape[0], size=(size, *shape))
        counts[..., i : i + size] = count_draws(draws)
    return counts


def count_draws(draws: Array) -> Array:
    """Return how often each run is in each resample.

    Args:
        draws: indices of runs, `[resamples, runs, ...]`, those of each task by
            themselves.

    Returns:
        Integers `[runs, ..., resamples]`.
    """
    xp = draws.__array_namespace__()
    num_resamples, num_runs, *tasks = draws.shape
    strata = math.prod(tasks)
    flat = draws.reshape(num_resamples, num_runs, strata)
    place = flat * strata + np.arange(strata)[None, None]
    place = place * num_resamples + np.arange(num_resamples)[:, None, None]
    size = num_runs * strata * num_resamples
    length = {"minlength" if xp is np else "length": size}
    counts = xp.bincount(place.reshape(-1), **length)
    return counts.reshape(num_runs, *tasks, num_resamples).astype(np.int32)


def bootstrap(
    statistic: Statistic,
    counts: Sequence[Array],
    confidence: float = 0.95,
    method: Method = "percentile",
) -> Interval:
    """Return a statistic of all runs, and its confidence interval over resamples.

    With θ the statistic of all runs, θ* those of B resamples, q their quantiles and
    a = (1 - confidence) / 2. Resamples without the statistic are left out, up to a
    share of `LACKING`.

    - percentile: [q(a), q(1 - a)];
    - basic: [2 θ - q(1 - a), 2 θ - q(a)];
    - bc: at Φ(2 z + Φ⁻¹(a)), z = Φ⁻¹(share of θ* < θ, from 1 / 2B to 1 - 1 / 2B);
    - bca: at Φ(z + (z + Φ⁻¹(a)) / (1 - k (z + Φ⁻¹(a)))), with the acceleration
      k = Σ d³ / 6 (Σ d²)^1.5, d = (1 - 1 / n) (the mean of the statistics without one
      run less each), of all runs of each of the samples. What leaves out a run
      `[runs, tasks]` leaves it out on each task.

    Args:
        statistic: (counts of each sample `[runs, ..., resamples]`) ->
            `[..., resamples]`.
        counts: of each sample, from `resample`.
        confidence: in (0, 1), static.
        method: as above.

    Returns:
        `[...]` each; both ends are NaN where all runs together have no statistic, or
        more than `LACKING` of the resamples have none, or for bca of the sets of
        all runs but one.

    Raises:
        ValueError: an argument is out of range.
    """
    if method not in METHODS:
        raise ValueError(
            f"Expected method to be one of {', '.join(METHODS)}, got {method!r}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"Expected confidence to be in (0, 1), got {confidence!r}.")
    estimate = statistic(*(c[..., :1] * 0 + 1 for c in counts))[..., 0]
    xp, values = as_floating(in_chunks(statistic, counts))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    if method in ("percentile", "basic"):
        levels = [xp.full(estimate.shape, p, dtype=values.dtype) for p in tails]
    else:
        bend = _acceleration(statistic, counts) if method == "bca" else 0
        levels = _shifted(estimate, values, tails, bend)
    low, high = (_quantile(values, level) for level in levels)
    if method == "basic":
        low, high = 2 * estimate - high, 2 * estimate - low
    known = xp.logical_not(xp.isnan(estimate)) & _enough(values)
    return Interval(estimate, *(xp.where(known, x, xp.nan) for x in (low, high)))


def lacking(statistic: Statistic, counts: Sequence[Array]) -> Array:
    """Return how many resamples have no statistic, and enter no interval.

    Args:
        statistic: see `bootstrap`.
        counts: of each sample, from `resample`.

    Returns:
        `[...]` integers; all resamples where all runs together have none.
    """
    estimate = statistic(*(c[..., :1] * 0 + 1 for c in counts))[..., 0]
    xp, values = as_floating(in_chunks(statistic, counts))
    missing = xp.sum(xp.astype(xp.isnan(values), int), axis=-1)
    return xp.where(xp.isnan(estimate), values.shape[-1], missing)


def most_lacking(num_resamples: int) -> int:
    """Return how many of so many resamples an interval may leave out."""
    return int(LACKING * num_resamples + 1e-9)


def _enough(values: Array) -> Array:
    """Return where so few `[..., resamples]` are NaN that they may be left out."""
    xp = values.__array_namespace__()
    missing = xp.sum(xp.astype(xp.isnan(values), int), axis=-1)
    return missing <= most_lacking(values.shape[-1])


def in_chunks(statistic: Statistic, counts: Sequence[Array]) -> Array:
    """Return the statistic of all resamples `[..., resamples]`, some at a time."""
    if counts[0].__array_namespace__() is not np:
        return _mapped(statistic, counts)
    parts = [
        statistic(*(c[..., i : i + CHUNK] for c in counts))
        for i in range(0, counts[0].shape[-1], CHUNK)
    ]
    return parts[0].__array_namespace__().concat(parts, axis=-1)


def _mapped(statistic: Statistic, counts: Sequence[Array]) -> Array:
    """The same under JAX: a loop, so that the program does not grow with its rounds."""
    import jax

    def of_one(resample: Sequence[Array]) -> Array:
        return statistic(*(c[..., None] for c in resample))[..., 0]

    resamples = [jax.numpy.moveaxis(c, -1, 0) for c in counts]
    values = jax.lax.map(of_one, resamples, batch_size=CHUNK)
    return jax.numpy.moveaxis(values, 0, -1)


def _shifted(
    estimate: Array, values: Array, tails: Sequence[float], bend: Array | float
) -> list[Array]:
    """The levels of bc, and of bca with an acceleration."""
    xp = values.__array_namespace__()
    known = xp.logical_not(xp.isnan(values))
    size = xp.maximum(xp.sum(xp.astype(known, values.dtype), axis=-1), 1)
    # What is equal but for rounding is not below.
    size_of = xp.max(xp.where(xp.isfinite(values), xp.abs(values), 0), axis=-1)
    slack = float(xp.finfo(values.dtype).eps) ** 0.75 * size_of
    below = xp.astype(values < (estimate - slack)[..., None], values.dtype)
    share = xp.sum(below, axis=-1) / size
    shift = _normal(xp).ndtri(xp.clip(share, 0.5 / size, 1 - 0.5 / size))
    levels = []
    for tail in tails:
        moved = shift + float(_normal(np).ndtri(tail))
        room = 1 - bend * moved
        # Without room the level is as far out as it can be.
        level = shift + moved / xp.where(room > 0, room, 1)
        level = xp.where(room > 0, level, xp.where(moved > 0, xp.inf, -xp.inf))
        levels.append(_normal(xp).ndtr(xp.where(xp.isnan(room), xp.nan, level)))
    return levels


def _quantile(values: Array, level: Array) -> Array:
    """The linear quantile over the last axis, at a level `[...]` of its own each.

    NaN has no rank: it is left out.
    """
    xp = values.__array_namespace__()
    ranked = xp.sort(values, axis=-1)  # NaN last.
    last = xp.sum(xp.astype(xp.logical_not(xp.isnan(values)), int), axis=-1) - 1
    missing = (last < 0) | xp.isnan(level)
    last = xp.maximum(last, 0)
    position = xp.where(missing, 0, level * last)
    place = xp.astype(xp.floor(position), int)
    below, above = (
        xp.take_along_axis(ranked, xp.clip(i, 0, last)[..., None], axis=-1)[..., 0]
        for i in (place, place + 1)
    )
    between = below + gap(above, below) * (position - place)
    return xp.where(missing, xp.nan, between)


def _acceleration(statistic: Statistic, counts: Sequence[Array]) -> Array:
    """Σ d³ / 6 (Σ d²)^1.5 over all runs of all samples; 0 where nothing changes."""
    deviations = []
    for i, sample in enumerate(counts):
        size = sample.shape[0]
        ones = [np.ones((*c.shape[:-1], size), np.int32) for c in counts]
        left_out = np.eye(size, dtype=np.int32)
        ones[i] -= left_out.reshape(size, *(1,) * (sample.ndim - 2), size)
        kind = sample.__array_namespace__()
        without = in_chunks(statistic, [kind.asarray(c) for c in ones])
        deviations.append((1 - 1 / size) * _from_their_mean(without))
    xp = deviations[0].__array_namespace__()
    d = xp.concat(deviations, axis=-1)
    # In units of the largest: the cubes of small ones are 0 in float32.
    most = xp.max(xp.abs(d), axis=-1, keepdims=True)
    d = d / xp.where(most == 0, 1, most)
    squares = xp.sum(d**2, axis=-1)
    return xp.sum(d**3, axis=-1) / (6 * xp.where(squares == 0, 1, squares) ** 1.5)


def _from_their_mean(without: Array) -> Array:
    """Return the mean less each; all NaN unless `_enough` are known, else 0 for NaN."""
    xp = without.__array_namespace__()
    known = xp.logical_not(xp.isnan(without))
    mean = mean_where(without, known, axis=-1)[..., None]
    apart = xp.where(known, gap(mean, without), 0)
    return xp.where(_enough(without)[..., None], apart, xp.nan)


def _normal(xp: Any) -> Any:
    """Φ (`ndtr`) and its inverse (`ndtri`) of an array namespace."""
    if xp is np:
        from scipy import special
    else:
        from jax.scipy import special
    return special
