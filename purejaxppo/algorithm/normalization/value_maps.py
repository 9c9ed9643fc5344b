"""Maps between values in the reward's unit and what a critic is trained to put out."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class ValueMap(NamedTuple):
    """A pair of elementwise functions, inverses of each other."""

    encode: Callable[[jax.Array], jax.Array]  # of a target, for the critic's loss
    decode: Callable[[jax.Array], jax.Array]  # of a critic's output, for advantages


def signed_hyperbolic(eps: float | jax.Array = 1e-2) -> ValueMap:
    """h(x) = sgn(x) (√(|x| + 1) − 1) + εx: linear near 0, a square root far out.

    h⁻¹(y) = sgn(y) u (u + 2),   u = 2|y| / (1 + 2ε + √((1 + 2ε)² + 4ε|y|)),
    where u = √(|x| + 1) − 1 is the root ≥ 0 of εu² + (1 + 2ε)u = |y|

    Neither subtracts nearly equal numbers, as the usual forms do at small x or ε: a
    round trip in float32 keeps six digits, and ε = 0 is allowed.

    Args:
      eps: ε ≥ 0, the slope far out; h⁻¹ grows no faster than 1 / ε. May be traced.

    Source: Pohlen et al., "Observe and look further: achieving consistent performance
    on Atari", 2018, arXiv:1805.11593.
    """

    def encode(x: jax.Array) -> jax.Array:
        return x / (jnp.sqrt(jnp.abs(x) + 1) + 1) + eps * x

    def decode(y: jax.Array) -> jax.Array:
        slope = 1 + 2 * eps
        root = jnp.sqrt(slope * slope + 4 * eps * jnp.abs(y))
        u = 2 * y / (slope + root)
        return u * (jnp.abs(u) + 2)

    return ValueMap(encode=encode, decode=decode)


def symlog() -> ValueMap:
    """sgn(x) ln(1 + |x|), and its inverse sgn(y) (exp |y| − 1), which grows as fast.

    Source: Hafner et al., "Mastering diverse domains through world models", 2023,
    arXiv:2301.04104.
    """

    # With sgn the derivative at 0 would be 0. Here each half adds ½ of its own.
    def encode(x: jax.Array) -> jax.Array:
        return jnp.log1p(jnp.maximum(x, 0)) - jnp.log1p(jnp.maximum(-x, 0))

    def decode(y: jax.Array) -> jax.Array:
        return jnp.expm1(jnp.maximum(y, 0)) - jnp.expm1(jnp.maximum(-y, 0))

    return ValueMap(encode=encode, decode=decode)


def affine(
    mean: float | jax.Array,
    std: float | jax.Array,
    clip: float | jax.Array | None = None,
) -> ValueMap:
    """clip((v − μ) / σ, ±clip), and back μ + σx.

    Args:
      mean: μ, scalar; 0 where only the scale is normalised.
      std: σ > 0, scalar.
      clip: of encoded values only: decoding is never clipped; None is no clip.

    Source: van Hasselt et al., "Learning values across many orders of magnitude", 2016,
    arXiv:1602.07714; the clip (5) is rl-games's.
    """

    def encode(x: jax.Array) -> jax.Array:
        x = (x - mean) / std
        return x if clip is None else jnp.clip(x, -clip, clip)

    def decode(y: jax.Array) -> jax.Array:
        return mean + std * y

    return ValueMap(encode=encode, decode=decode)


def popart_scale(
    old_mean: float | jax.Array,
    old_std: float | jax.Array,
    new_mean: float | jax.Array,
    new_std: float | jax.Array,
) -> tuple[float | jax.Array, float | jax.Array]:
    """(σ / σ′, (μ − μ′) / σ′): what keeps a critic's decoded output as statistics move.

    w′ = w · scale,  b′ = b · scale + shift   ⇒   σ′ (w′x + b′) + μ′ = σ (wx + b) + μ

    Source: van Hasselt et al., "Learning values across many orders of magnitude", 2016,
    arXiv:1602.07714, eq. 3.
    """
    return old_std / new_std, (old_mean - new_mean) / new_std
