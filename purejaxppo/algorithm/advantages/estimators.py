"""Advantage estimators: arrays in, arrays out."""

from typing import Any

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
    factor = jnp.asarray(gamma * gae_lambda, delta.dtype)
    decay = jnp.where(terminated | truncated, 0, factor)

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


def one_step_returns(
    reward: jax.Array, next_value: jax.Array, terminated: jax.Array, gamma: ArrayLike
) -> jax.Array:
    """rₜ + γ (1 − terminatedₜ) V(s′ₜ), TD(0)'s target: GAE's at λ = 0.

    Args:
      reward: `[T, ...]`.
      next_value: `[T, ...]` V(s′ₜ) of the observation *before* any reset.
      terminated: `[T, ...]` bool; a truncated step bootstraps like any other.
      gamma: discount; may be traced.

    Returns:
      `[T, ...]` targets of the critic; subtract V(sₜ) for advantages.

    Source: Sutton, "Learning to predict by the methods of temporal differences", 1988.
    """
    chex.assert_equal_shape([reward, next_value, terminated])
    return reward + gamma * jnp.where(terminated, 0, next_value)


def n_step_returns(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: ArrayLike,
    n: int,
) -> jax.Array:
    """Up to n rewards and a bootstrap, at the latest where episode or rollout end.

    Gₜ = Σ_{l<k} γˡ rₜ₊ₗ + γᵏ (1 − terminatedₘ) V(s′ₘ),   m = t + k − 1,
    m the first of: the n-th step, a terminated or truncated one, the rollout's last

    Args:
      reward: `[T, ...]`.
      next_value: `[T, ...]` V(s′ₜ) of the observation *before* any reset.
      terminated: `[T, ...]` bool, the task ended.
      truncated: `[T, ...]` bool, the episode was cut. Where both, terminated wins.
      gamma: discount; may be traced.
      n: most rewards to sum, static; the cost is min(n, T) passes over `[T, ...]`.

    Returns:
      `[T, ...]` targets of the critic; subtract V(sₜ) for advantages.

    Raises:
      ValueError: if n < 1.

    Source: Mnih et al., "Asynchronous methods for deep reinforcement learning", 2016,
    arXiv:1602.01783.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    chex.assert_equal_shape([reward, next_value, terminated, truncated])
    one_step = one_step_returns(reward, next_value, terminated, gamma)
    cut = (terminated | truncated).at[-1].set(True)

    def lengthen(_: jax.Array, returns: jax.Array) -> jax.Array:
        # What rolls around from the start lands on the last step, which is cut.
        return jnp.where(cut, one_step, reward + gamma * jnp.roll(returns, -1, 0))

    return jax.lax.fori_loop(1, min(n, len(reward)), lengthen, one_step)


def reward_to_go(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: ArrayLike,
) -> jax.Array:
    """Monte Carlo returns, bootstrapped where a truncation or the rollout's end cuts.

    Gₜ = rₜ + γ (1 − terminatedₜ) (V(s′ₜ) if cutₜ else Gₜ₊₁),
    cutₜ = truncatedₜ ∨ t = T − 1

    Args:
      reward: `[T, ...]`.
      next_value: `[T, ...]` V(s′ₜ) of the observation *before* any reset.
      terminated: `[T, ...]` bool, the task ended.
      truncated: `[T, ...]` bool, the episode was cut. Where both, terminated wins.
      gamma: discount; may be traced.

    Returns:
      `[T, ...]` targets: GAE's at λ = 1, and n-step's at n ≥ T.

    Source: Sutton and Barto, "Reinforcement learning: an introduction", 2018, ch. 3.
    """
    chex.assert_equal_shape([reward, next_value, terminated, truncated])

    def backwards(
        total: jax.Array, step: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, jax.Array]:
        reward, next_value, terminated, truncated = step
        following = jnp.where(truncated, next_value, total)
        total = reward + gamma * jnp.where(terminated, 0, following)
        return total, total

    steps = (reward, next_value, terminated, truncated)
    return jax.lax.scan(backwards, next_value[-1], steps, reverse=True)[1]


def episode_returns(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: ArrayLike,
) -> jax.Array:
    """The return of the whole trajectory as the weight of each of its steps.

    Ψₜ = G_{s(t)},   s(t) the first step of t's episode *within the rollout*,
    G as in `reward_to_go`: an episode that goes on from an earlier rollout counts
    from this one's start

    Args:
      reward: `[T, ...]`.
      next_value: `[T, ...]` V(s′ₜ) of the observation *before* any reset.
      terminated: `[T, ...]` bool, the task ended.
      truncated: `[T, ...]` bool, the episode was cut. Where both, terminated wins.
      gamma: discount; may be traced.

    Returns:
      `[T, ...]`, constant over each episode. A weight of the policy gradient, of high
      variance; no target for a critic.

    Source: Williams, "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning", 1992.
    """
    returns = reward_to_go(reward, next_value, terminated, truncated, gamma)
    # The last step's rolls around onto the first, whose start is 0 either way.
    starts = jnp.roll(terminated | truncated, 1, 0)
    time = jax.lax.broadcasted_iota(jnp.int32, starts.shape, 0)
    start = jax.lax.cummax(jnp.where(starts, time, 0), axis=0)
    return jnp.take_along_axis(returns, start, axis=0)


def _mean(x: jax.Array, weight: jax.Array | None, axis_name: Any) -> jax.Array:
    """Mean of the samples of weight 1, whatever the others are, over `axis_name`."""
    if weight is None and axis_name is None:
        return x.mean()
    weight = jnp.ones_like(x) if weight is None else weight.astype(x.dtype)
    total, count = jnp.where(weight > 0, x, 0).sum(), weight.sum()
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / jnp.maximum(count, 1)


def _varies(x: jax.Array, weight: jax.Array | None, axis_name: Any) -> jax.Array:
    """Whether two samples differ. Rounding may give a constant a deviation above 0."""
    kept = True if weight is None else weight.astype(x.dtype) > 0
    low = jnp.where(kept, x, jnp.inf).min()
    high = jnp.where(kept, x, -jnp.inf).max()
    if axis_name is not None:
        low, high = jax.lax.pmin(low, axis_name), jax.lax.pmax(high, axis_name)
    return high > low


def normalize(
    advantage: jax.Array,
    eps: ArrayLike = 1e-8,
    *,
    min_std: ArrayLike | None = None,
    weight: jax.Array | None = None,
    axis_name: Any = None,
) -> jax.Array:
    """(A − mean A) / (std A + eps), with the population's standard deviation.

    Args:
      advantage: any shape.
      eps: added to the standard deviation; may be 0.
      min_std: if given, the denominator is max(std A, min_std), and eps is not used.
      weight: of advantage's shape, 0 or 1: mean and deviation of the ones only. All
        samples are shifted and scaled by them.
      axis_name: mesh or vmap axes over which mean and deviation are joined, so that
        shards give what the whole gives.

    Returns:
      advantage's shape. Where the constant in the denominator may be 0 (it is, or it
      is traced), a batch without two different samples gives 0.
    """
    if weight is not None:
        chex.assert_equal_shape([advantage, weight])
    centred = advantage - _mean(advantage, weight, axis_name)
    if weight is None and axis_name is None:
        std = advantage.std()
    else:
        std = jnp.sqrt(_mean(jnp.square(centred), weight, axis_name))
    floor = eps if min_std is None else min_std
    denominator = std + floor if min_std is None else jnp.maximum(std, floor)
    if isinstance(floor, int | float) and floor > 0:
        return centred / denominator
    # The square of a tiny deviation underflows: samples may differ, and std be 0.
    safe = _varies(advantage, weight, axis_name) & (denominator > 0)
    return jnp.where(safe, centred, 0) / jnp.where(safe, denominator, 1)


def scale_by(advantage: jax.Array, scale: ArrayLike) -> jax.Array:
    """A / max(scale, 1e-6): a constant's or a moving average's scale, no centring.

    Unlike `normalize` it keeps the sign of every advantage, and a constant scale keeps
    the gradient unbiased. Acme's scale is the moving average of E|A|.

    Source: Hoffman et al., "Acme: a research framework for distributed reinforcement
    learning", 2020, arXiv:2006.00979.
    """
    return advantage / jnp.maximum(scale, 1e-6)
