"""From a rollout to what an update learns from: values, advantages and targets."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.advantages import estimators
from purejaxppo.algorithm.learning.loss_terms import mean
from purejaxppo.algorithm.normalization.value_maps import ValueMap
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import (
    ConstantScale,
    EpisodeReturn,
    MeanAbsolute,
    MonteCarlo,
    NStep,
    OneStep,
    RewardToGo,
)


class Steps(NamedTuple):
    """A rollout `[T, N]` as estimators see it; `weight` is `None` where all count."""

    reward: jax.Array
    value: jax.Array
    next_value: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    weight: jax.Array | None = None


class Estimates(NamedTuple):
    """Values, advantages and targets in real units, and weights; flat `[T * N]`."""

    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array | None = None


def estimate(
    config: Config,
    outputs: tuple[jax.Array, jax.Array],
    values: ValueMap | None,
    steps: Transition,
) -> Estimates:
    """Values, advantages and targets of a rollout by a critic's outputs.

    Args:
      config: which estimators, and their numbers.
      outputs: the critic's of each observation and of the one after it, before any
        reset; flat `[T * N]`.
      values: between outputs and values; `None` where they are the same.
      steps: `[T, N]`, with the rewards to learn from.
    """
    shape = steps.reward.shape
    decode = (lambda x: x) if values is None else values.decode
    value, next_value = map(decode, outputs)
    seen = handle_truncation(
        config,
        Steps(
            reward=steps.reward,
            value=value.reshape(shape),
            next_value=next_value.reshape(shape),
            terminated=steps.terminated,
            truncated=steps.truncated,
        ),
    )
    advantage = estimate_advantage(config, seen)
    target = estimate_target(config, seen, advantage)
    weight = None if seen.weight is None else seen.weight.reshape(-1)
    return Estimates(value, advantage.reshape(-1), target.reshape(-1), weight)


def handle_truncation(config: Config, steps: Steps) -> Steps:
    """What follows a step at which its episode was cut, by the config's convention.

    A dropped step has weight 0, and no advantage for the steps before it to build on.
    """
    if config.truncation == "final_obs":
        return steps
    cut = steps.truncated & ~steps.terminated
    match config.truncation:
        case "current_value":
            next_value = jnp.where(cut, steps.value, steps.next_value)
            return steps._replace(next_value=next_value)
        case "drop":
            return steps._replace(
                reward=jnp.where(cut, steps.value, steps.reward),
                terminated=steps.terminated | steps.truncated,
                weight=1.0 - cut,
            )
        case "none":
            return steps._replace(terminated=steps.terminated | steps.truncated)
    return steps


def estimate_advantage(config: Config, steps: Steps) -> jax.Array:
    """A `[T, N]` by the config's estimator; GAE where it is off."""
    match config.advantage:
        case None:
            return estimators.gae(*steps[:5], config.gamma, config.gae_lambda)
        case RewardToGo() as rule:
            total = estimators.reward_to_go(*_outcome(steps), config.gamma)
            return total - _baseline(rule.baseline, total, steps)
        case EpisodeReturn() as rule:
            total = estimators.episode_returns(*_outcome(steps), config.gamma)
            return total - _baseline(rule.baseline, total, steps)
    return _returns(config, config.advantage, steps) - steps.value


def estimate_target(config: Config, steps: Steps, advantage: jax.Array) -> jax.Array:
    """The critic's target `[T, N]`: GAE + V where it is off."""
    if config.target is not None:
        return _returns(config, config.target, steps)
    if config.advantage is None:
        return advantage + steps.value
    gae = estimators.gae(*steps[:5], config.gamma, config.gae_lambda)
    return gae + steps.value


def _returns(
    config: Config, rule: OneStep | NStep | MonteCarlo, steps: Steps
) -> jax.Array:
    reward, next_value, terminated, truncated = _outcome(steps)
    match rule:
        case OneStep():
            return estimators.one_step_returns(
                reward, next_value, terminated, config.gamma
            )
        case NStep():
            return estimators.n_step_returns(
                reward, next_value, terminated, truncated, config.gamma, rule.n
            )
        case MonteCarlo():
            return estimators.reward_to_go(
                reward, next_value, terminated, truncated, config.gamma
            )


def _outcome(
    steps: Steps,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    return steps.reward, steps.next_value, steps.terminated, steps.truncated


def _baseline(kind: str | None, total: jax.Array, steps: Steps) -> jax.Array:
    if kind == "value":
        return steps.value
    if kind is None:
        return jnp.zeros((), jnp.float32)
    return mean(total, steps.weight)


# --- Scale of advantages ------------------------------------------------------------


class AdvantageScale(NamedTuple):
    """Moving mean of |A|, and the weight it rests on; see `MeanAbsolute`."""

    mean: jax.Array
    weight: jax.Array


def init_advantage_scale(config: Config) -> Any:
    """A mean of nothing seen; `()` where off."""
    if isinstance(config.scale_advantage, MeanAbsolute):
        return AdvantageScale(mean=jnp.float32(0), weight=jnp.float32(0))
    return ()


def follow_advantages(config: Config, state: Any, found: Estimates) -> Any:
    """The moving mean with a batch of advantages taken in."""
    rule = config.scale_advantage
    if not isinstance(rule, MeanAbsolute):
        return state
    size = mean(jnp.abs(found.advantage), found.weight)
    return AdvantageScale(
        mean=rule.decay * state.mean + (1 - rule.decay) * size,
        weight=rule.decay * state.weight + (1 - rule.decay),
    )


def scale_advantage(config: Config, state: Any, advantage: jax.Array) -> jax.Array:
    """Advantages over the config's scale, if it has one."""
    match config.scale_advantage:
        case None:
            return advantage
        case ConstantScale() as rule:
            return estimators.scale_by(advantage, rule.value)
        case MeanAbsolute():
            return estimators.scale_by(advantage, state.mean / state.weight)


def normalize(
    config: Config,
    advantage: jax.Array,
    weight: jax.Array | None,
    axis_name: str | None = None,
) -> jax.Array:
    """Advantages standardised by the config's numbers, those of all shards as one."""
    return estimators.normalize(
        advantage,
        config.advantage_eps,
        min_std=config.advantage_min_std,
        weight=weight,
        axis_name=axis_name,
    )
