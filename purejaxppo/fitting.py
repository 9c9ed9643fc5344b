"""What must fit each other, and is refused before anything is compiled if it does not.

The techniques of a config and an environment's spaces, a network and a loss.
"""

from typing import Any

import gymnasium
import jax
from gymnasium import spaces
from jax.dtypes import canonicalize_dtype

from purejaxppo.config import Config
from purejaxppo.encoders import normalized_parts
from purejaxppo.networks import Network
from purejaxppo.sequences import check_network, has_memory
from purejaxppo.spaces import map_space, parts
from purejaxppo.techniques import PopArt


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
