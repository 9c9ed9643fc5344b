"""What an update minimises: the losses of actor and critic on a minibatch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.learning import loss_terms
from purejaxppo.algorithm.learning.sequences import (
    join,
)
from purejaxppo.config.config import Config
from purejaxppo.networks.actor_critic import Network, Params
from purejaxppo.networks.distributions import (
    entropy_at,
    log_prob_parts,
    pre_squash_mean,
)
from purejaxppo.networks.memory import Memory, unroll_actor, unroll_critic


class Minibatch(NamedTuple):
    """What a loss learns from, `[B, ...]`; `value` and `log_prob` are the rollout's.

    `value` and `target` are in the units of the critic's output. `weight` is 0 for
    samples that do not count, and `None` where all do. `policy` is the action
    distribution of before the update, at temperature 1, where a technique asks for the
    KL from it, else `None`.

    Where the network has a memory, samples are sequences of L steps laid out flat, time
    first, `[L * S]`: `memory` is that before the first steps `[S, ...]`, `reset` says
    whether an episode starts at a step. Both are `None` otherwise. `policy_of` and
    `value_of` know of them.
    """

    obs: Any
    action: Any
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array | None = None
    policy: Any = None
    memory: Memory | None = None
    reset: jax.Array | None = None


class Diagnostics(NamedTuple):
    """What a loss says of itself, scalars; an own loss may leave out the later ones.

    `approx_kl` is the estimate k3 of KL(old ‖ new), beside k1 and k2; `policy_kl` is
    the exact one where a technique computes it. `ratio_*` describe π_new / π_old.
    """

    policy_loss: Any
    value_loss: Any
    entropy: Any
    approx_kl: Any
    clip_fraction: Any
    kl_k1: Any = ()
    kl_k2: Any = ()
    ratio_mean: Any = ()
    ratio_std: Any = ()
    ratio_min: Any = ()
    ratio_max: Any = ()
    policy_kl: Any = ()


def joined(batch: Minibatch) -> Minibatch:
    """A batch of sequences `[S, L, ...]` laid out flat; one without memory as it is."""
    if batch.memory is None:
        return batch
    return join(batch._replace(memory=None))._replace(memory=batch.memory)


def policy_of(network: Network, params: Params, batch: Minibatch) -> Any:
    """The action distributions `[B]` of a minibatch, by a network with these params."""
    if batch.memory is None:
        return network.actor(params, batch.obs, ())[0]
    assert batch.reset is not None
    actor = batch.memory.actor
    return unroll_actor(network, params, batch.obs, batch.reset, actor)[0]


def value_of(network: Network, params: Params, batch: Minibatch) -> jax.Array:
    """The critic's outputs `[B]` of a minibatch, by a network with these params."""
    if batch.memory is None:
        return network.critic(params, batch.obs, ())[0]
    assert batch.reset is not None
    critic = batch.memory.critic
    return unroll_critic(network, params, batch.obs, batch.reset, critic)[0]


Loss = Callable[[Config, Network, Params, Minibatch], tuple[jax.Array, Diagnostics]]


def ppo_loss(
    config: Config, network: Network, params: Params, batch: Minibatch
) -> tuple[jax.Array, Diagnostics]:
    """PPO's loss: L_actor + vf_coef L_value; see `actor_loss` and `critic_loss`.

    `make_ppo(..., loss=)` takes any function of this signature in its place. The
    config's scheduled numbers are those of the update.
    """
    loss, diagnostics = actor_loss(config, network, params, batch)
    value_loss = critic_loss(config, network, params, batch)
    loss = loss + config.vf_coef * value_loss
    return loss, diagnostics._replace(value_loss=value_loss)


def actor_loss(
    config: Config, network: Network, params: Params, batch: Minibatch
) -> tuple[jax.Array, Diagnostics]:
    """L_clip − ent_coef H, plus β KL(old ‖ new) and the bounds loss where they are on.

    Without a clip the surrogate is −E[ρA]: importance sampling, or PPO-Penalty. Where
    the parts of an action have a ratio each, L_clip is the sum of theirs.
    """
    distribution = policy_of(network, params, batch)
    weight = batch.weight
    log_ratio = log_prob(config, distribution, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    if config.ratio == "joint":
        policy_loss, clip_fraction = _surrogate(config, batch, ratio)
    else:
        each = jax.vmap(partial(_surrogate, config, batch), in_axes=1)(ratio)
        policy_loss, clip_fraction = each[0].sum(), each[1].mean()
        log_ratio, ratio = log_ratio.sum(-1), ratio.prod(-1)
    entropy = loss_terms.mean(entropy_at(distribution, batch.action), weight)
    loss = policy_loss - config.ent_coef * entropy
    policy_kl: Any = ()
    if batch.policy is not None:
        policy_kl = loss_terms.mean(batch.policy.kl_divergence(distribution), weight)
    if config.kl_penalty is not None:
        loss = loss + config.kl_penalty.coef * policy_kl
    if config.bounds_loss is not None:
        bounds = getattr(network, "bounds", None)
        mean = in_half_widths(pre_squash_mean(distribution), bounds)
        loss = loss + config.bounds_loss.coef * out_of_bounds(config, mean, weight)
    return loss, Diagnostics(
        policy_loss=policy_loss,
        value_loss=(),
        entropy=entropy,
        clip_fraction=clip_fraction,
        policy_kl=policy_kl,
        **log_ratio_figures(log_ratio, ratio, weight),
    )


def log_prob(config: Config, distribution: Any, action: Any) -> jax.Array:
    """Log-probability `[B]`, or `[B, P]` of each part where each has its own ratio."""
    if config.ratio == "joint":
        return distribution.log_prob(action)
    return log_prob_parts(distribution, action)


def _surrogate(
    config: Config, batch: Minibatch, ratio: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The surrogate loss of ratios `[B]`, and the fraction of them that is clipped."""
    if config.clip_eps is None:
        loss = loss_terms.surrogate(ratio, batch.advantage, batch.weight)
        return loss, jnp.float32(0)
    loss = loss_terms.clipped_surrogate(
        ratio, batch.advantage, config.clip_eps, config.dual_clip, batch.weight
    )
    return loss, loss_terms.clip_fraction(ratio, config.clip_eps, batch.weight)


def in_half_widths(mean: jax.Array, bounds: Any) -> jax.Array:
    """(μ − c) / h of means `[B, ...]` in a box c ± h; as they are without bounds."""
    if bounds is None:
        return mean
    center, half = (jnp.broadcast_to(x, mean.shape) for x in bounds)
    return (mean - center) / half


def out_of_bounds(
    config: Config, mean: jax.Array, weight: jax.Array | None
) -> jax.Array:
    """The bounds loss of a Gaussian's means `[B, ...]`."""
    assert config.bounds_loss is not None
    mean = mean.reshape(mean.shape[0], -1)
    if config.bounds_loss.form == "soft":
        return loss_terms.bounds_loss(mean, config.bounds_loss.bound, weight)
    return loss_terms.mean_regularization(mean, weight)


def log_ratio_figures(
    log_ratio: jax.Array, ratio: jax.Array, weight: jax.Array | None
) -> dict[str, jax.Array]:
    """The KL's estimates k1, k2, k3 and statistics of the ratio, by metric's name."""
    mean = loss_terms.mean(ratio, weight)
    return {
        "approx_kl": loss_terms.approximate_kl(log_ratio, weight),
        "kl_k1": loss_terms.kl_k1(log_ratio, weight),
        "kl_k2": loss_terms.kl_k2(log_ratio, weight),
        "ratio_mean": mean,
        "ratio_std": jnp.sqrt(loss_terms.mean(jnp.square(ratio - mean), weight)),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
    }


def critic_loss(
    config: Config, network: Network, params: Params, batch: Minibatch
) -> jax.Array:
    """½ E[(V − R)²] by the config's clip and error, without ½ if it says so."""
    value = value_of(network, params, batch)
    loss = loss_terms.value_loss(
        value,
        batch.value,
        batch.target,
        clip_eps=config.vf_clip_eps,
        clip_mode=config.vf_clip_mode,
        huber=config.vf_huber,
        weight=batch.weight,
    )
    return loss if config.vf_half else 2 * loss
