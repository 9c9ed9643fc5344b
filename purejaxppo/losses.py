"""Surrogate, value loss and diagnostics of PPO: arrays in, scalars out."""

import jax
import jax.numpy as jnp


def clipped_surrogate(
    ratio: jax.Array, advantage: jax.Array, clip_eps: float | jax.Array
) -> jax.Array:
    """−E[min(ρA, clip(ρ, 1 − ε, 1 + ε) A)], PPO-Clip's policy loss.

    Source: Schulman et al., "Proximal policy optimization algorithms", 2017,
    arXiv:1707.06347, eq. 7.
    """
    clipped = jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps)
    return -jnp.minimum(ratio * advantage, clipped * advantage).mean()


def squared_error(value: jax.Array, target: jax.Array) -> jax.Array:
    """½ E[(V − R)²]."""
    return 0.5 * jnp.square(value - target).mean()


def clipped_squared_error(
    value: jax.Array,
    old_value: jax.Array,
    target: jax.Array,
    clip_eps: float | jax.Array,
) -> jax.Array:
    """½ E[max((V − R)², (V_old + clip(V − V_old, ±ε) − R)²)]: ppo2's value clip."""
    clipped = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
    worse = jnp.maximum(jnp.square(value - target), jnp.square(clipped - target))
    return 0.5 * worse.mean()


def approximate_kl(log_ratio: jax.Array) -> jax.Array:
    """E[ρ − 1 − ln ρ] of log_ratio = ln ρ: KL(old ‖ new), unbiased and never negative.

    Source: Schulman, "Approximating KL divergence", 2020 (the estimator k3).
    """
    return (jnp.expm1(log_ratio) - log_ratio).mean()


def clip_fraction(ratio: jax.Array, clip_eps: float | jax.Array) -> jax.Array:
    """Share of samples with |ρ − 1| > ε."""
    return (jnp.abs(ratio - 1) > clip_eps).mean(dtype=jnp.float32)


def explained_variance(value: jax.Array, target: jax.Array) -> jax.Array:
    """1 − Var(R − V) / Var(R): 1 is perfect, 0 a constant's; NaN if R is constant."""
    variance = target.var()
    return jnp.where(variance > 0, 1 - (target - value).var() / variance, jnp.nan)
