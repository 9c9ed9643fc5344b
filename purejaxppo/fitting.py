"""What must fit each other, and is refused before anything is compiled if it does not.

An environment and its spaces, the techniques of a config and these spaces, a network.
"""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
from gymnasium import spaces
from jax.dtypes import canonicalize_dtype

from purejaxppo.config import Config
from purejaxppo.encoders import normalized_parts
from purejaxppo.environments import Environment, EnvParams, Step, check_pure, lost
from purejaxppo.networks import Network
from purejaxppo.sequences import check_network, has_memory
from purejaxppo.spaces import check_value, joined, map_space, parts
from purejaxppo.suites.own import blamed
from purejaxppo.techniques import PopArt


def fit_environment(env: Environment, env_params: EnvParams) -> None:
    """Refuse an environment that does not keep to its spaces, or to the protocol.

    Raises:
      ValueError: an observation of `reset` or `step` is not of the space, with its
        path; `step` returns no `Step`, another kind of state than `reset`, or a reward
        or flag that is no scalar; the environment keeps arrays in itself; or its own
        code raises.
    """

    def first_two(key: jax.Array) -> tuple[Any, Any]:
        obs, state = env.reset(key, env_params)
        return (obs, state), env.step(key, state, action, env_params)

    action = map_space(
        lambda part: jnp.zeros(part.shape, canonicalize_dtype(part.dtype)),
        env.action_space(env_params),
    )
    with blamed(f"{env!r}'s reset or step"):
        start, step = jax.eval_shape(first_two, jax.random.key(0))
    check_pure(env)
    if not isinstance(step, Step):
        kind = type(step).__name__
        raise ValueError(
            f"Expected step to return a Step({', '.join(Step._fields)}), got {kind}."
        )
    space = env.observation_space(env_params)
    for obs in (start[0], step.obs):
        check_value(space, obs, "observation")
    kinds = [jax.tree.structure(state) for state in (start[1], step.state)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"Expected step to return a state like reset's, {kinds[0]}, got {kinds[1]}."
        )
    losses = jax.tree.map(lost, start[1], step.state)
    for path, loss in jax.tree_util.tree_leaves_with_path(losses):
        if loss:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ValueError(
                f"Expected {joined('state', name)} to be of one shape and type, got "
                f"{loss}; make it so in reset."
            )
    for name in ("reward", "terminated", "truncated"):
        shape = jnp.shape(getattr(step, name))
        if shape != ():
            raise ValueError(f"Expected {name} to be a scalar, got shape {shape}.")


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
    """Refuse a network that lacks what a technique needs beyond the seam.

    Args:
      config: with the techniques.
      network: ours, or the user's own.
      seen: the observation space, if it is the user's own.

    Raises:
      ValueError: naming the technique and what is missing.
    """
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
