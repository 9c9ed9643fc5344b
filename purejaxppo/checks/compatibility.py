"""What must fit each other, and is refused before anything is compiled if it does not.

The techniques of a config and an environment's spaces, a network and a loss.
"""

import inspect
from typing import Any

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
from gymnasium import spaces
from jax.dtypes import canonicalize_dtype

from purejaxppo.config.config import Config
from purejaxppo.config.techniques import PopArt
from purejaxppo.environments.protocol import ProtocolError, describe
from purejaxppo.environments.spaces import map_space, parts
from purejaxppo.environments.suites.custom import blamed
from purejaxppo.networks.actor_critic import Network
from purejaxppo.networks.encoders import normalized_parts
from purejaxppo.networks.memory import (
    check_init_memory,
    check_network,
    has_memory,
    init_memory,
)


def fit_spaces(config: Config, seen: gymnasium.Space, actions: gymnasium.Space) -> None:
    """Refuse techniques that have nothing to do in these spaces.

    Raises:
      ValueError: naming the field and the space.
    """
    boxes = [isinstance(part, spaces.Box) for _, part in parts(actions)]
    if config.bounds_loss and not any(boxes):
        raise ValueError(
            f"Expected bounds_loss only with a Box of actions, got {actions}."
        )
    tree = isinstance(actions, spaces.Dict | spaces.Tuple)
    if config.ratio == "factored" and not tree:
        raise ValueError(
            f"Expected ratio = factored only with a Tuple or Dict of actions, got "
            f"{actions}."
        )
    standardised = any(jax.tree.leaves(normalized_parts(seen)))
    if config.normalize_observation and not standardised:
        raise ValueError(
            "Expected normalize_observation only with a Box of numbers that are no "
            f"bytes in observation_space, got {seen}."
        )


def fit_network(config: Config, network: Network, seen: gymnasium.Space | None) -> None:
    """Refuse a network that does not keep the seam, or lacks what a technique needs.

    Args:
      config: with the techniques.
      network: ours, or the user's own.
      seen: the observation space, if it is the user's own.

    Raises:
      TypeError: it is no `Network`.
      ValueError: a function of it raises or returns something else than it has to; or
        naming the technique and what is missing.
    """
    if seen is not None:
        check_functions(network)
    needed = {
        "groups": config.has_groups and "optimizers of actor and critic apart",
        "rescale": isinstance(config.normalize_value, PopArt)
        and "normalize_value = pop_art",
    }
    for name, technique in needed.items():
        if technique and getattr(network, name, None) is None:
            raise ValueError(
                f"Expected network to have {name!r}, which {technique} needs, got None."
            )
    if seen is not None:
        obs = map_space(
            lambda part: jax.ShapeDtypeStruct(
                (config.num_envs, *(part.shape or ())), canonicalize_dtype(part.dtype)
            ),
            seen,
        )
        check_init_memory(network, config.num_envs)
        check_outputs(network, obs, config.num_envs)
        check_network(network, obs, config.num_envs)
    if has_memory(network):
        if config.num_sequences % config.num_minibatches:
            raise ValueError(
                f"Expected num_minibatches to divide the {config.num_sequences} "
                f"sequences of a network with a memory, got {config.num_minibatches}."
            )
    elif config.sequence_length is not None:
        raise ValueError(
            f"Expected sequence_length only with network.memory, or a network that has "
            f"one, got {config.sequence_length}."
        )


ARGUMENTS = {
    "init": ("key", "obs"),
    "actor": ("params", "obs", "memory"),
    "critic": ("params", "obs", "memory"),
}
"""Function of a network -> what it is called with."""


def check_functions(network: Any) -> None:
    """Raise if an object has not the functions of a `Network`.

    Raises:
      TypeError: it is a module of Flax, lacks a function, or a function takes other
        arguments.
    """
    kind = type(network).__name__
    recipe = "pass purejaxppo.ActorCritic(init=..., actor=..., critic=...)"
    if isinstance(network, nn.Module):
        raise TypeError(
            f"network is the Flax module {kind}; {recipe} with functions that call its "
            "init and apply."
        )
    for name, arguments in ARGUMENTS.items():
        function = getattr(network, name, None)
        if not callable(function):
            raise TypeError(
                f"network is {describe(network)} without a function {name}; {recipe}."
            )
        try:
            signature = inspect.signature(function)
        except ValueError:
            continue  # A built-in one, which does not tell.
        try:
            signature.bind(*arguments)
        except TypeError:
            raise TypeError(
                f"network.{name} takes {signature}; it is called with "
                f"({', '.join(arguments)})."
            ) from None


def check_outputs(network: Network, obs: Any, batch_size: int) -> None:
    """Raise if a network's functions return something else than `Network` says.

    Args:
      network: one of the user's own.
      obs: shapes of `batch_size` observations, `[batch, ...]`.
      batch_size: number of environments.

    Raises:
      ValueError: naming the function, and what it returns.
    """

    def run(key: jax.Array, obs: Any) -> None:
        params_key, key = jax.random.split(key)
        memory = init_memory(network, batch_size)
        with blamed("network.init"):
            params = network.init(params_key, obs)
        with blamed("network.actor"):
            result: Any = network.actor(params, obs, memory.actor)
        distribution = _first("actor", "an action distribution", result)
        for name in ("sample", "log_prob"):
            if not callable(getattr(distribution, name, None)):
                raise ProtocolError(
                    f"network.actor returns {describe(distribution)} first; it must be "
                    f"a distribution, which has {name}."
                )
        with blamed("The distribution of network.actor"):
            action = distribution.sample(seed=key)
            log_prob = distribution.log_prob(action)
        _check_batch("The log-probability of network.actor", log_prob, batch_size)
        with blamed("network.critic"):
            result = network.critic(params, obs, memory.critic)
        value = _first("critic", "values [batch]", result)
        _check_batch("The value of network.critic", value, batch_size)
        if value.ndim != 1:
            raise ProtocolError(
                f"The value of network.critic has shape {value.shape}; it must be "
                f"({batch_size},), one for each environment."
            )

    key = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(run, key, obs)


def _first(name: str, what: str, result: Any) -> Any:
    """Return the first of the two values that actor and critic return."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise ProtocolError(
            f"network.{name} returns {describe(result)}; it must return a pair: {what} "
            "and the memory after it, which is () without one."
        )
    return result[0]


def _check_batch(what: str, value: Any, batch_size: int) -> None:
    shape = jnp.shape(value) if hasattr(value, "shape") else None
    if not shape or shape[0] != batch_size:
        got = describe(value) if shape is None else f"of shape {shape}"
        raise ProtocolError(
            f"{what} is {got}; it must be an array with {batch_size} rows, one for "
            "each environment."
        )


def fit_loss(config: Config, loss: Any) -> None:
    """Refuse a loss of one's own where actor and critic learn apart.

    Raises:
      ValueError: they do.
    """
    if loss is not None and config.pauses_a_part:
        raise ValueError(
            "Expected no loss of one's own with kl_stop.scope = policy, critic_epochs, "
            "critic_warmup or trpo, which need actor's and critic's apart, got one."
        )
