"""Learning from one batch: epochs x minibatches as one scan over rows of indices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from purejaxppo import losses
from purejaxppo.advantages import normalize
from purejaxppo.config import Config
from purejaxppo.networks import Network, Params
from purejaxppo.permutations import draw_permutations


class Minibatch(NamedTuple):
    """What a loss learns from, `[B, ...]`; `value` and `log_prob` are the rollout's."""

    obs: Any
    action: Any
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array


class Diagnostics(NamedTuple):
    """What a loss says of itself, scalars."""

    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array


Loss = Callable[[Config, Network, Params, Minibatch], tuple[jax.Array, Diagnostics]]


class Learner(NamedTuple):
    """What an update changes."""

    params: Params
    opt_state: Any


def ppo_loss(
    config: Config, network: Network, params: Params, batch: Minibatch
) -> tuple[jax.Array, Diagnostics]:
    """PPO-Clip: L = L_clip + vf_coef L_value − ent_coef H.

    `make_ppo(..., loss=)` takes any function of this signature in its place.
    """
    distribution, _ = network.actor(params, batch.obs, ())
    value, _ = network.critic(params, batch.obs, ())
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    policy_loss = losses.clipped_surrogate(ratio, batch.advantage, config.clip_eps)
    if config.vf_clip_eps is None:
        value_loss = losses.squared_error(value, batch.target)
    else:
        value_loss = losses.clipped_squared_error(
            value, batch.value, batch.target, config.vf_clip_eps
        )
    entropy = distribution.entropy().mean()
    loss = policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy
    return loss, Diagnostics(
        policy_loss=policy_loss,
        value_loss=value_loss,
        entropy=entropy,
        approx_kl=losses.approximate_kl(log_ratio),
        clip_fraction=losses.clip_fraction(ratio, config.clip_eps),
    )


def minibatch_rows(key: jax.Array, config: Config) -> jax.Array:
    """Indices of every minibatch, `[epochs * minibatches, minibatch_size]`.

    Each epoch is a permutation of the batch, so each sample is used once an epoch.
    """
    epochs = draw_permutations(key, config.num_epochs, config.batch_size)
    return epochs.reshape(-1, config.minibatch_size)


def update(
    key: jax.Array,
    learner: Learner,
    batch: Minibatch,
    loss: Callable[[Params, Minibatch], tuple[jax.Array, Diagnostics]],
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array,
    config: Config,
) -> tuple[Learner, Diagnostics, jax.Array]:
    """Minimise `loss` over `num_epochs` x `num_minibatches` minibatches.

    Args:
      key: consumed.
      learner: parameters and optimizer state.
      batch: `[num_envs * num_steps, ...]`.
      loss: (params, minibatch) -> (scalar, diagnostics).
      optimizer: gives a direction; see `make_optimizer`.
      learning_rate: of this update.
      config: sizes and advantage normalisation.

    Returns:
      The learner, the diagnostics and the gradient's global norm before any clipping,
      both as means over the minibatches.
    """
    if config.normalize_advantage == "batch":
        batch = batch._replace(advantage=normalize(batch.advantage))

    def learn(
        learner: Learner, row: jax.Array
    ) -> tuple[Learner, tuple[Diagnostics, jax.Array]]:
        minibatch = jax.tree.map(lambda x: x[row], batch)
        if config.normalize_advantage == "minibatch":
            minibatch = minibatch._replace(advantage=normalize(minibatch.advantage))
        grads, diagnostics = jax.grad(loss, has_aux=True)(learner.params, minibatch)
        direction, opt_state = optimizer.update(grads, learner.opt_state)
        params = jax.tree.map(
            lambda p, d: p - learning_rate * d, learner.params, direction
        )
        norm = optax.tree.norm(grads)
        return Learner(params=params, opt_state=opt_state), (diagnostics, norm)

    rows = minibatch_rows(key, config)
    learner, (diagnostics, norm) = jax.lax.scan(learn, learner, rows)
    return learner, jax.tree.map(jnp.mean, diagnostics), norm.mean()
