"""Advantage estimators: arrays in, arrays out."""

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def gae(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: ArrayLike,
    gae_lambda: ArrayLike,
) -> jax.Array:
    """Generalised advantage estimation with separate termination and truncation.

    Aₜ = δₜ + γλ (1 − doneₜ) Aₜ₊₁,   δₜ = rₜ + γ (1 − terminatedₜ) V(s′ₜ) − V(sₜ),
    doneₜ = terminatedₜ ∨ truncatedₜ

    `T` is time, leading; any trailing batch shape is allowed. A truncated step
    bootstraps from `next_value`, and passes no advantage back across the reset.

    Args:
      reward: `[T, ...]` rₜ, received for acting in sₜ.
      value: `[T, ...]` V(sₜ).
      next_value: `[T, ...]` V(s′ₜ) of the observation *before* any reset.
      terminated: `[T, ...]` bool, the task ended.
      truncated: `[T, ...]` bool, the episode was cut. Where both, terminated wins.
      gamma: discount γ in [0, 1]; may be traced.
      gae_lambda: λ in [0, 1]; may be traced.

    Returns:
      `[T, ...]` advantages; add `value` for the TD(λ) targets of the critic.

    Source: Schulman et al., "High-dimensional continuous control using generalized
    advantage estimation", 2016, arXiv:1506.02438.

    >>> import jax.numpy as jnp
    >>> ones, no = jnp.ones(2), jnp.array([False, False])
    >>> gae(ones, 0 * ones, 0 * ones, no, no, 1.0, 1.0)
    Array([2., 1.], dtype=float32)
    """
    chex.assert_equal_shape([reward, value, next_value, terminated, truncated])
    delta = reward + gamma * jnp.where(terminated, 0, next_value) - value
    decay = jnp.where(terminated | truncated, 0, gamma * gae_lambda)

    def backwards(
        advantage: jax.Array, step: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        delta, decay = step
        advantage = delta + decay * advantage
        return advantage, advantage

    _, advantage = jax.lax.scan(
        backwards, jnp.zeros_like(delta[0]), (delta, decay), reverse=True
    )
    return advantage


def discounted_returns(
    reward: jax.Array, done: jax.Array, start: jax.Array, gamma: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Discounted sums of the *past* rewards of each environment's running episode.

    Rₜ = γ (1 − doneₜ₋₁) Rₜ₋₁ + rₜ: an episode's last reward still counts, then 0.

    Args:
      reward: `[T, N]`.
      done: `[T, N]` bool.
      start: `[N]` what is carried over from the last rollout (γ (1 − done) R).
      gamma: discount.

    Returns:
      Rₜ `[T, N]`, and what to carry over `[N]`.
    """

    def forward(
        carried: jax.Array, step: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        reward, done = step
        total = carried + reward
        return jnp.where(done, 0, gamma * total), total

    carried, total = jax.lax.scan(forward, start, (reward, done))
    return total, carried


def normalize(advantage: jax.Array, eps: float = 1e-8) -> jax.Array:
    """(A − mean A) / (std A + eps), with the population's standard deviation."""
    return (advantage - advantage.mean()) / (advantage.std() + eps)
