"""What an update minimises: the losses of actor and critic on a minibatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo import losses
from purejaxppo.config import Config
from purejaxppo.distributions import pre_squash_mean
from purejaxppo.networks import Network, Params


class Minibatch(NamedTuple):
    """What a loss learns from, `[B, ...]`; `value` and `log_prob` are the rollout's.

    `value` and `target` are in the units of the critic's output. `weight` is 0 for
    samples that do not count, and `None` where all do. `policy` is the action
    distribution of before the update, at temperature 1, where a technique asks for the
    KL from it, else `None`.
    """

    obs: Any
    action: Any
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array | None = None
    policy: Any = None


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

    Without a clip the surrogate is −E[ρA]: importance sampling, or PPO-Penalty.
    """
    distribution, _ = network.actor(params, batch.obs, ())
    weight = batch.weight
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    clip_fraction = jnp.float32(0)
    if config.clip_eps is None:
        policy_loss = losses.surrogate(ratio, batch.advantage, weight)
    else:
        policy_loss = losses.clipped_surrogate(
            ratio, batch.advantage, config.clip_eps, config.dual_clip, weight
        )
        clip_fraction = losses.clip_fraction(ratio, config.clip_eps, weight)
    entropy = losses.mean(distribution.entropy(), weight)
    loss = policy_loss - config.ent_coef * entropy
    policy_kl: Any = ()
    if batch.policy is not None:
        policy_kl = losses.mean(batch.policy.kl_divergence(distribution), weight)
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
        return losses.bounds_loss(mean, config.bounds_loss.bound, weight)
    return losses.mean_regularization(mean, weight)


def log_ratio_figures(
    log_ratio: jax.Array, ratio: jax.Array, weight: jax.Array | None
) -> dict[str, jax.Array]:
    """The KL's estimates k1, k2, k3 and statistics of the ratio, by metric's name."""
    mean = losses.mean(ratio, weight)
    return {
        "approx_kl": losses.approximate_kl(log_ratio, weight),
        "kl_k1": losses.kl_k1(log_ratio, weight),
        "kl_k2": losses.kl_k2(log_ratio, weight),
        "ratio_mean": mean,
        "ratio_std": jnp.sqrt(losses.mean(jnp.square(ratio - mean), weight)),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
    }


def critic_loss(
    config: Config, network: Network, params: Params, batch: Minibatch
) -> jax.Array:
    """½ E[(V − R)²] by the config's clip and error, without ½ if it says so."""
    value, _ = network.critic(params, batch.obs, ())
    loss = losses.value_loss(
        value,
        batch.value,
        batch.target,
        clip_eps=config.vf_clip_eps,
        clip_mode=config.vf_clip_mode,
        huber=config.vf_huber,
        weight=batch.weight,
    )
    return loss if config.vf_half else 2 * loss
