"""What `make_ppo` settles once, before anything is traced."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import jax
import numpy as np
import optax
from gymnasium import spaces

from purejaxppo.algorithm.learning import gradient_clipping
from purejaxppo.algorithm.learning.objective import Loss, ppo_loss
from purejaxppo.algorithm.learning.optimizers import adam, grouped, guarded
from purejaxppo.algorithm.sampling import keyed_sampler, own_sampler
from purejaxppo.checks.compatibility import fit_loss, fit_network, fit_spaces
from purejaxppo.checks.contract import (
    check_traced,
    get_arguments,
    get_params,
    get_space,
    trace,
)
from purejaxppo.config import techniques as t
from purejaxppo.config.config import Config, NetworkConfig
from purejaxppo.environments.protocol import (
    Arguments,
    Environment,
    EnvParams,
    Reset,
    make_reset,
)
from purejaxppo.environments.spaces import parts, split_mask
from purejaxppo.environments.suites import adapt
from purejaxppo.environments.wrappers import FrameStack
from purejaxppo.networks.actor_critic import Network, Params, make_actor_critic
from purejaxppo.networks.distributions import (
    ActionHead,
    Sampler,
    Sigma,
    check_mask,
    fully_masked,
    make_action_head,
    most_entropy,
)
from purejaxppo.networks.encoders import normalized_parts
from purejaxppo.networks.parameters import draw_kernels


class Parts(NamedTuple):
    """An environment, a network and an optimizer that fit each other and a config.

    Attributes:
      groups: params -> tree of labels, where actor and critic have optimizers of
        their own, else `None`.
      entropy_target: the entropy that ent_coef follows; `()` where it does not.
      normalized: a tree like an observation: what of it may be standardised.
      fully_masked: action masks `[...]` -> where they leave a part of an action without
        any valid choice; `None` where the environment offers no mask.
      axis_name: of the shards of a run; `None` where one device has all of it.
    """

    config: Config
    env: Environment
    env_params: EnvParams
    network: Network
    loss: Loss
    sampler: Sampler
    to_env: Callable[[Any], Any]
    optimizer: optax.GradientTransformation
    groups: Callable[[Params], Any] | None
    entropy_target: Any
    normalized: Any
    fully_masked: Callable[[Any], jax.Array] | None
    axis_name: str | None = None


def make_parts(
    config: Config,
    env: Any,
    env_params: EnvParams,
    network: Network | None,
    loss: Loss | None,
    axis_name: str | None = None,
) -> Parts:
    """Make what the config asks for.

    Raises:
      TypeError: `env` is no environment.
      ValueError: a space is not supported, an observation or an action mask does not
        match its space, or a technique needs of the network, or of the loss, what the
        user's own does not have.
    """
    env = adapt(env)
    env_params = get_params(env, env_params)
    space = get_space(env, "action_space", env_params)
    seen = get_space(env, "observation_space", env_params)
    if config.frame_stack is not None:
        env = FrameStack(env, config.frame_stack)
        seen = env.observation_space(env_params)
    rest, mask = split_mask(seen)
    if mask is not None:
        check_mask(space, mask)
    arguments = get_arguments(env, env_params)
    head = make_head(config.network, space, arguments)
    sampler = own_sampler(head.sampler, axis_name)
    if network is not None:
        sampler = keyed_sampler(axis_name)
    own = network
    if network is None:
        network = make_network(config.network, rest, head)
    check_traced(seen, trace(env, env_params, space))
    fit_spaces(config, seen, space)
    fit_network(config, network, None if own is None else seen)
    fit_loss(config, loss)
    groups = getattr(network, "groups", None) if config.has_groups else None
    return Parts(
        config=config,
        env=env,
        env_params=env_params,
        network=network,
        loss=loss or ppo_loss,
        sampler=sampler,
        to_env=head.to_env,
        optimizer=make_optimizer(config, groups),
        groups=groups,
        entropy_target=entropy_target(config, space, arguments, mask is not None),
        normalized=normalized_parts(seen),
        fully_masked=(
            None if mask is None else partial(fully_masked, space, arguments=arguments)
        ),
        axis_name=axis_name,
    )


def make_head(
    config: NetworkConfig,
    space: gymnasium.spaces.Space,
    arguments: Arguments | None = None,
) -> ActionHead:
    """The action head that a network's config asks for."""
    match config.sigma:
        case t.FixedSigma() as rule:
            sigma = Sigma("fixed", rule.value)
        case t.ScheduledSigma() as rule:
            sigma = Sigma("scheduled", rule.initial)
        case t.StateSigma() as rule:
            sigma = Sigma(
                "conditioned",
                low=rule.low,
                high=rule.high,
                parametrization=rule.parametrization,
            )
        case None:
            sigma = Sigma()
    return make_action_head(
        space,
        policy=config.policy,
        sigma=sigma,
        tanh_mean=config.tanh_mean,
        arguments=arguments,
        autoregressive=config.autoregressive,
        activation=config.activation,
    )


def make_network(
    config: NetworkConfig, space: gymnasium.spaces.Space, head: ActionHead
) -> Network:
    """The default network by its config."""
    return make_actor_critic(
        space,
        head,
        conv=config.conv,
        memory=config.memory,
        widths=config.widths,
        activation=config.activation,
        layer_norm=config.layer_norm,
        shared=config.shared,
        log_std_init=config.log_std_init,
        draw=partial(
            draw_kernels,
            init=config.init,
            init_std=config.init_std,
            activation=config.activation,
            hidden_gain=config.hidden_gain,
            policy_gain=config.policy_gain,
            value_gain=config.value_gain,
        ),
    )


# --- Optimizer ----------------------------------------------------------------------


def make_optimizer(
    config: Config, groups: Callable[[Params], Any] | None
) -> optax.GradientTransformation:
    """Guards against large gradients and Adam, for all parameters or by group.

    It gives a direction; the learning rate is multiplied in by the update, since it
    follows updates, not optimizer steps, and stays out of the optimizer's state.
    """
    guards = make_guards(config)
    if groups is None:
        return guarded(guards, adam(config.adam_eps))
    rules = {
        "actor": config.actor_optimizer,
        "critic": config.critic_optimizer,
        "shared": config.shared_optimizer,
    }
    adams = {label: _group_adam(config, rule) for label, rule in rules.items()}
    if config.grad_scope == "group":
        each = {label: guarded(guards, one) for label, one in adams.items()}
        return grouped(each, groups)
    return guarded(guards, grouped(adams, groups))


def _group_adam(
    config: Config, rule: t.OptimizerGroup | None
) -> optax.GradientTransformation:
    if rule is None:
        return adam(config.adam_eps)
    eps = config.adam_eps if rule.adam_eps is None else rule.adam_eps
    return adam(eps, rule.weight_decay)


def make_guards(config: Config) -> list[optax.GradientTransformation]:
    """What gradients pass before Adam: `clip_grad`, then `max_grad_norm`."""
    guards = []
    match config.clip_grad:
        case t.ClipNorm() as rule:
            guards.append(gradient_clipping.clip_by_norm(rule.max, rule.order))
        case t.ClipValue() as rule:
            guards.append(gradient_clipping.clip_by_value(rule.max))
        case t.IgnoreNorm() as rule:
            guards.append(gradient_clipping.ignore_by_norm(rule.max, rule.order))
        case t.IgnoreValue() as rule:
            guards.append(gradient_clipping.ignore_by_value(rule.max))
        case t.ClipMomentum() as rule:
            guards.append(
                gradient_clipping.clip_by_momentum(rule.factor, rule.decay, rule.warmup)
            )
    if config.max_grad_norm is not None:
        guards.append(optax.clip_by_global_norm(config.max_grad_norm))
    return guards


# --- Numbers ------------------------------------------------------------------------


def entropy_target(
    config: Config,
    space: gymnasium.Space,
    arguments: Arguments | None = None,
    masked: bool = False,
) -> Any:
    """The entropy to aim at: the config's, or the default of `EntropyTarget`.

    Raises:
      ValueError: no policy has as much; or there is none given and masks, of which
        nothing is known ahead, bound it.
    """
    if not isinstance(config.ent_schedule, t.EntropyTarget):
        return ()
    target, policy = config.ent_schedule.target, config.network.policy
    boxes = [part for _, part in parts(space) if isinstance(part, spaces.Box)]
    most = most_entropy(space, arguments)
    if target is None and masked:
        raise ValueError(
            "Expected ent_schedule.target to be given with action masks, which bound "
            "the entropy, got None."
        )
    if target is None:
        return 0.98 * most + sum(_box_entropy_target(box, policy) for box in boxes)
    if not boxes and not hasattr(target, "aval") and target > most:
        raise ValueError(
            f"Expected ent_schedule.target to be at most the {most:.3f} nats of "
            f"{space}, got {target}."
        )
    return target


def _box_entropy_target(space: gymnasium.spaces.Box, policy: str) -> float:
    """1 + ln 2 nats a dimension below the uniform distribution's entropy.

    A Beta's entropy is that of actions in [0, 1]; a dimension without bounds counts as
    [−1, 1].
    """
    width = np.asarray(space.high, np.float64) - np.asarray(space.low, np.float64)
    width = np.where(np.isfinite(width) & (width > 0), width, 2.0)
    if policy == "beta":
        width = np.ones_like(width)
    return float(np.sum(np.log(width) - 1 - math.log(2)))


def collecting_reset(parts: Parts) -> Callable[[jax.Array], Reset]:
    """`key -> Reset` for training: any start, or one of `num_starts` fixed ones.

    The fixed ones are the same for every run, like Procgen's training levels.
    """
    reset, num_starts = make_reset(parts.env, parts.env_params), parts.config.num_starts
    if num_starts is None:
        return reset

    def fixed(key: jax.Array) -> Reset:
        start = jax.random.randint(key, (), 0, num_starts)
        return reset(jax.random.fold_in(jax.random.key(0), start))

    return fixed
