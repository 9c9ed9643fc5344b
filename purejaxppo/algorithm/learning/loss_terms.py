"""Surrogates, value loss, penalties and diagnostics of PPO: arrays in, scalars out.

`weight` is 0 or 1 per sample: 0 drops it from the mean, whatever its value.
"""

import chex
import jax
import jax.numpy as jnp

from purejaxppo.algorithm.markers import missing


def mean(x: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """E[x], or Σ w x / max(Σ w, 1) over the samples of weight w ≠ 0; 0 if none is.

    Args:
      x: any shape, floats.
      weight: of x's shape, 0 or 1.

    Raises:
      AssertionError: if the shapes differ.
    """
    if weight is None:
        return x.mean()
    chex.assert_equal_shape([x, weight])
    weight = weight.astype(x.dtype)
    # A dropped sample may be infinite or NaN, and 0 times that is NaN.
    total = jnp.where(weight == 0, 0, weight * x).sum()
    return total / jnp.maximum(weight.sum(), 1)


def surrogate(
    ratio: jax.Array, advantage: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """−E[ρA]: the importance-sampled policy gradient, with nothing to bound the step.

    Source: Schulman et al., "Trust region policy optimization", 2015,
    arXiv:1502.05477.
    """
    return -mean(ratio * advantage, weight)


def clipped_surrogate(
    ratio: jax.Array,
    advantage: jax.Array,
    clip_eps: float | jax.Array,
    dual_clip: float | jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """−E[min(ρA, clip(ρ, 1 − ε, 1 + ε) A)], PPO-Clip's policy loss.

    With `dual_clip` c > 1: −E[max(min(...), cA) where A < 0, else min(...)], which
    bounds the loss of a huge ρ. Without the gate A < 0 the maximum is cA for every
    A > 0, and their gradient is 0.

    Source: Schulman et al., "Proximal policy optimization algorithms", 2017,
    arXiv:1707.06347, eq. 7; Ye et al., "Mastering complex control in MOBA games with
    deep reinforcement learning", 2020, arXiv:1912.09729 (dual clip).
    """
    clipped = jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps)
    gain = jnp.minimum(ratio * advantage, clipped * advantage)
    if dual_clip is not None:
        gain = jnp.where(advantage < 0, jnp.maximum(gain, dual_clip * advantage), gain)
    return -mean(gain, weight)


def _error(difference: jax.Array, huber: float | jax.Array | None) -> jax.Array:
    """d², or beyond |d| = δ its tangent 2δ|d| − δ²."""
    if huber is None:
        return jnp.square(difference)
    size = jnp.abs(difference)
    return jnp.where(size <= huber, jnp.square(size), huber * (2 * size - huber))


def value_loss(
    value: jax.Array,
    old_value: jax.Array,
    target: jax.Array,
    *,
    clip_eps: float | jax.Array | None = None,
    clip_mode: str = "max",
    huber: float | jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """½ E[e(V − R)], e the square or Huber's; three ways to clip it.

    V_c = V_old + clip(V − V_old, ±ε):
    "max"      ½ E[max(e(V − R), e(V_c − R))]   ppo2
    "clipped"  ½ E[e(V_c − R)]                  Stable-Baselines3
    "error"    ½ E[min(e(V − R), ε)]            RLlib
    e(d) = d² for |d| ≤ δ, else 2δ|d| − δ²: ½ e is Huber's loss

    Args:
      value: V, what is learned.
      old_value: V_old of the rollout, of value's shape; used by a clip only.
      target: R, of value's shape. No gradient is stopped here: a target that holds
        `value` itself makes the loss's gradient 0.
      clip_eps: ε; None clips nothing.
      clip_mode: which of the three.
      huber: δ; None is the square.
      weight: 0 or 1 per sample.

    Raises:
      ValueError: if clip_mode is none of the three.

    Source: Huber, "Robust estimation of a location parameter", 1964; the clips are
    those of the libraries' code.
    """
    if clip_mode not in ("max", "clipped", "error"):
        raise ValueError(
            f'clip_mode must be "max", "clipped" or "error", got {clip_mode!r}'
        )
    if clip_eps is None:
        error = _error(value - target, huber)
    elif clip_mode == "error":
        error = jnp.minimum(_error(value - target, huber), clip_eps)
    else:
        clipped = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
        if clip_mode == "clipped":
            error = _error(clipped - target, huber)
        else:
            unclipped = _error(value - target, huber)
            error = jnp.maximum(unclipped, _error(clipped - target, huber))
    return 0.5 * mean(error, weight)


def kl_k1(log_ratio: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """−E[ln ρ]: KL(old ‖ new), unbiased, of high variance, and negative at times.

    Source: Schulman, "Approximating KL divergence", 2020 (the estimator k1).
    """
    return -mean(log_ratio, weight)


def kl_k2(log_ratio: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """½ E[(ln ρ)²]: KL(old ‖ new) to second order, biased and never negative.

    Source: Schulman, "Approximating KL divergence", 2020 (the estimator k2).
    """
    return 0.5 * mean(jnp.square(log_ratio), weight)


def approximate_kl(log_ratio: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """E[ρ − 1 − ln ρ] of log_ratio = ln ρ: KL(old ‖ new), unbiased and never negative.

    Source: Schulman, "Approximating KL divergence", 2020 (the estimator k3).
    """
    return mean(jnp.expm1(log_ratio) - log_ratio, weight)


def bounds_loss(
    mu: jax.Array, bound: float | jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """E[Σᵢ max(0, |μᵢ| − bound)²] of `mu` `[..., D]`: means stay near the actions' box.

    `weight` is `[...]`. A mean far outside the box gets the same action clipped, and
    no gradient back but this one.

    Source: Makoviichuk and Makoviychuk, "rl-games", 2021 (`bound_loss`).
    """
    return mean(jnp.square(jnp.maximum(jnp.abs(mu) - bound, 0)).sum(-1), weight)


def mean_regularization(mu: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """E[Σᵢ μᵢ²] of `mu` `[..., D]`, and `weight` `[...]`: a pull of means to 0.

    Source: Makoviichuk and Makoviychuk, "rl-games", 2021 (`regularisation`).
    """
    return mean(jnp.square(mu).sum(-1), weight)


def clip_fraction(
    ratio: jax.Array, clip_eps: float | jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Share of samples with |ρ − 1| > ε."""
    return mean((jnp.abs(ratio - 1) > clip_eps).astype(jnp.float32), weight)


def explained_variance(
    value: jax.Array, target: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """1 − Var(R − V) / Var(R): 1 is perfect, 0 a constant's; NaN if R is constant."""
    variance = _variance(target, weight)
    unexplained = _variance(target - value, weight)
    safe = jnp.where(variance > 0, variance, 1)
    return jnp.where(variance > 0, 1 - unexplained / safe, missing())


def _variance(x: jax.Array, weight: jax.Array | None) -> jax.Array:
    if weight is None:
        return x.var()
    return mean(jnp.square(x - mean(x, weight)), weight)
