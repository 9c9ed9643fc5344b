"""Diagonal Gaussian distributions over a box."""

import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.networks.distributions.boxes import affine, center_and_half, clip
from purejaxppo.networks.distributions.heads import (
    INDEPENDENT,
    SIGMAS,
    ActionHead,
    Sampler,
    Sigma,
    expect,
)


def diagonal_gaussian(
    low: np.ndarray,
    high: np.ndarray,
    *,
    sigma: Sigma = INDEPENDENT,
    tanh_mean: bool = False,
    summed: bool = True,
) -> ActionHead:
    """Independent normals, by default with a state-independent standard deviation.

    The sampled action is what the log-probability is of; the environment gets it
    clipped to `[low, high]`. `tanh_mean` bounds the mean: (low + high) / 2 +
    tanh(output) (high − low) / 2, and tanh(output) in a dimension without both bounds.
    Log-probability and entropy are those of the whole action, or of each dimension
    `[..., *shape]` where not `summed`.
    """
    expect("network.sigma", SIGMAS, sigma.kind)
    expect("sigma.parametrization", ("clamp", "softplus"), sigma.parametrization)
    shape, size = low.shape, math.prod(low.shape)
    center, half = _bounds(low, high)

    def distribution(
        outputs: jax.Array, log_std: Any, mask: Any = None
    ) -> distrax.Independent:
        del mask
        mean, std = _mean_and_std(outputs, log_std, sigma, shape)
        if tanh_mean:
            mean = affine(jnp.tanh(mean), center, half)
        return distrax.Independent(
            distrax.Normal(mean, std), len(shape) if summed else 0
        )

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*leading, *shape), jnp.float32)

    def sample(distribution: distrax.Independent, noise: jax.Array) -> jax.Array:
        return jnp.asarray(distribution.mean() + distribution.stddev() * noise)

    return ActionHead(
        num_outputs=size * (2 if sigma.kind == "conditioned" else 1),
        num_scales=size if sigma.kind in ("independent", "scheduled") else 0,
        distribution=distribution,
        sampler=Sampler(draw, sample),
        to_env=lambda action: clip(action, low, high),
        scheduled=sigma.kind == "scheduled",
        bounds=(center.reshape(-1), half.reshape(-1)),
    )


def _bounds(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width of a box, 0 and 1 where it is not bounded."""
    center, half = center_and_half(low, high)
    bounded = np.isfinite(center) & np.isfinite(half)
    return np.where(bounded, center, 0.0), np.where(bounded, half, 1.0)


SOFTPLUS_FLOOR = 1e-5
"""Added to a softplus standard deviation, which may round to 0."""


def _mean_and_std(
    outputs: jax.Array, log_std: Any, sigma: Sigma, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation `[..., *shape]` of `outputs` `[..., n or 2 n]`."""
    shapes = *outputs.shape[:-1], *shape
    if sigma.kind == "conditioned":
        outputs, x = jnp.split(outputs, 2, axis=-1)
        if sigma.parametrization == "clamp":
            std = jnp.exp(jnp.clip(x, sigma.low, sigma.high))
        else:
            std = jax.nn.softplus(x) + SOFTPLUS_FLOOR
        return outputs.reshape(shapes), std.reshape(shapes)
    mean = outputs.reshape(shapes)
    if sigma.kind == "fixed":
        return mean, jnp.full_like(mean, sigma.value)
    if log_std is None:
        raise ValueError(
            f"log_std is None, but the standard deviation of this policy is a "
            f"parameter of the network: pass head.num_scales = {math.prod(shape)} "
            "numbers, or make the head with another sigma."
        )
    if sigma.kind == "scheduled":
        log_std = jax.lax.stop_gradient(log_std)
    return mean, jnp.broadcast_to(jnp.exp(log_std).reshape(shape), mean.shape)
