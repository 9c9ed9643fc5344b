"""The config's numbers as of one update: scheduled, annealed, or following a target.

After the last planned update none of them changes any more.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.learning.shapes import (
    Scalar,
    exponential,
    linear,
    piecewise,
    progress,
    staircase,
    within,
)
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import (
    EntropyTarget,
    Exponential,
    KLLearningRate,
    KLPenalty,
    Linear,
    OptimizerGroup,
    Piecewise,
    ScheduledSigma,
)


class Adaptive(NamedTuple):
    """Numbers that follow what training does, carried from update to update.

    `()` where they do not. `ent_coef` is kept as its logarithm.
    """

    learning_rate: Any = ()
    kl_coef: Any = ()
    log_ent_coef: Any = ()


def init_adaptive(config: Config) -> Adaptive:
    """What each number starts from: the config's own."""
    penalty = config.kl_penalty
    follows_entropy = isinstance(config.ent_schedule, EntropyTarget)
    return Adaptive(
        learning_rate=jnp.float32(config.learning_rate)
        if config.kl_learning_rate
        else (),
        kl_coef=jnp.float32(penalty.coef) if penalty and penalty.adaptive else (),
        log_ent_coef=jnp.log(jnp.float32(config.ent_coef)) if follows_entropy else (),
    )


def at_update(config: Config, adaptive: Adaptive, update: jax.Array) -> Config:
    """The config whose numbers are those of update number `update`."""
    now = progress(update, config.num_updates)
    changes: dict[str, Any] = {
        "learning_rate": anneal(config, config.learning_rate, now),
        "ent_coef": entropy_coefficient(config, adaptive, update),
    }
    if config.kl_learning_rate is not None:
        changes["learning_rate"] = adaptive.learning_rate
    if config.anneal_clip:
        changes["clip_eps"] = linear(jnp.float32(config.clip_eps), 0.0, now)
    if config.kl_penalty is not None and config.kl_penalty.adaptive:
        penalty = dataclasses.replace(config.kl_penalty, coef=adaptive.kl_coef)
        changes["kl_penalty"] = penalty
    for name in ("actor_optimizer", "critic_optimizer", "shared_optimizer"):
        group: OptimizerGroup | None = getattr(config, name)
        if group is not None and group.learning_rate is not None:
            rate = anneal(config, group.learning_rate, now)
            changes[name] = dataclasses.replace(group, learning_rate=rate)
    return dataclasses.replace(config, **changes)


def anneal(config: Config, learning_rate: Scalar, now: jax.Array) -> jax.Array:
    """A learning rate at progress `now`: constant, or linear to 0 with a floor."""
    learning_rate = jnp.asarray(learning_rate, jnp.float32)
    if not config.anneal_lr:
        return learning_rate
    annealed = linear(learning_rate, 0.0, now)
    if config.min_learning_rate is None:
        return annealed
    return jnp.maximum(annealed, config.min_learning_rate)


def entropy_coefficient(
    config: Config, adaptive: Adaptive, update: jax.Array
) -> Scalar:
    """The entropy bonus' weight at an update, by its schedule."""
    initial, schedule = config.ent_coef, config.ent_schedule
    if schedule is None:
        return initial
    now = progress(update, config.num_updates)
    match schedule:
        case Linear():
            return linear(initial, schedule.final, now)
        case Exponential():
            return exponential(
                initial, schedule.decay, within(update, config.num_updates)
            )
        case Piecewise():
            return initial * piecewise(schedule.times, schedule.factors, now)
        case EntropyTarget():
            return jnp.exp(adaptive.log_ent_coef)


def sigma_at(config: Config, sigma: ScheduledSigma, update: jax.Array) -> jax.Array:
    """The standard deviation at an update: a staircase over environment steps."""
    update = within(update, config.num_updates)
    steps = jnp.float32(config.batch_size) * update  # Integers would overflow.
    return staircase(sigma.initial, sigma.decay, sigma.every, sigma.minimum, steps)


def follow_kl(penalty: KLPenalty, coef: jax.Array, kl: jax.Array) -> jax.Array:
    """β after an update that moved by `kl`: × up above high · target, × down below low.

    Source: Schulman et al. 2017, arXiv:1707.06347, section 4.
    """
    assert penalty.target is not None
    factor = jnp.where(
        kl > penalty.high * penalty.target,
        penalty.up,
        jnp.where(kl < penalty.low * penalty.target, penalty.down, 1.0),
    )
    return jnp.clip(coef * factor, penalty.min, penalty.max)


def follow_learning_rate(
    rule: KLLearningRate, learning_rate: jax.Array, kl: jax.Array
) -> jax.Array:
    """The learning rate after a step that moved by `kl`: ÷ factor if high, × if low."""
    slower = jnp.maximum(learning_rate / rule.factor, rule.min)
    faster = jnp.minimum(learning_rate * rule.factor, rule.max)
    low = jnp.where(kl < rule.low * rule.target, faster, learning_rate)
    return jnp.where(kl > rule.high * rule.target, slower, low)


def follow_entropy(
    rule: EntropyTarget, log_coef: jax.Array, entropy: jax.Array, target: Scalar
) -> jax.Array:
    """min(ln c − step · (H − target), ln max)."""
    return jnp.minimum(log_coef - rule.step * (entropy - target), jnp.log(rule.max))
