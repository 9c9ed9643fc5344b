"""What is made of rewards before advantages are estimated from them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.advantages.estimators import discounted_returns
from purejaxppo.algorithm.normalization.running_statistics import (
    RunningStatistics,
    batch_statistics,
    init_statistics,
    merge,
    scale,
    standardize,
)
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import (
    RewardNormalization,
    RewardStandardization,
    RewardTransform,
)


class RewardScale(NamedTuple):
    """Running statistics of the discounted return, and each environment's own `[N]`.

    Where rewards are standardised, the statistics are the rewards' own and nothing is
    carried: `()`.
    """

    statistics: RunningStatistics
    carried: Any


def init_reward_scale(config: Config) -> Any:
    """Statistics of nothing seen; `()` where off."""
    match config.normalize_reward:
        case RewardNormalization():
            carried = jnp.zeros(config.num_envs, jnp.float32)
            return RewardScale(init_statistics(), carried)
        case RewardStandardization():
            return RewardScale(init_statistics(), ())
    return ()


def shape_rewards(
    config: Config, state: Any, steps: Transition
) -> tuple[jax.Array, Any]:
    """Rewards `[T, N]` transformed and normalised, and the state after them."""
    reward = steps.reward
    if config.transform_reward is not None:
        reward = transform_reward(config.transform_reward, reward)
    match config.normalize_reward:
        case RewardNormalization() as rule:
            done = steps.terminated | steps.truncated
            total, carried = discounted_returns(
                reward, done, state.carried, config.gamma
            )
            statistics = merge(state.statistics, batch_statistics(total, (0, 1)))
            reward = scale(reward, statistics, rule.clip, rule.eps)
            return reward, RewardScale(statistics=statistics, carried=carried)
        case RewardStandardization() as rule:
            statistics = merge(state.statistics, batch_statistics(reward, (0, 1)))
            reward = standardize(reward, statistics, rule.clip, rule.eps)
            return reward, RewardScale(statistics=statistics, carried=())
    return reward, state


def transform_reward(rule: RewardTransform, reward: jax.Array) -> jax.Array:
    """sign(clip((r + shift) · scale, low, high)), without the parts that are off."""
    reward = (reward + rule.shift) * rule.scale
    if rule.low is not None or rule.high is not None:
        reward = jnp.clip(reward, rule.low, rule.high)
    return jnp.sign(reward) if rule.sign else reward
