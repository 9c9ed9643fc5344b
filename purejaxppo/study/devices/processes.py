"""Several processes that train one study: what they must agree on, and share.

With one process, everything here does nothing, or only what its name says.
"""

import os
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")

EXHAUSTED = "RESOURCE_EXHAUSTED"
"""What XLA says where memory runs out."""


class ExhaustedError(RuntimeError):
    """Memory ran out in one of several processes, and all of them raise this."""


def is_first() -> bool:
    """Whether this process is the one that writes what only one may write."""
    return jax.process_index() == 0


def agree(number: float) -> float:
    """The first process's number, in all of them: each measures times of its own."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def least(number: float) -> float:
    """The least of all processes' numbers."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return float(multihost_utils.process_allgather(np.float32(number)).min())


def num_neighbours() -> int:
    """How many of the processes are on this host, this one among them."""
    if jax.process_count() == 1:
        return 1
    from jax.experimental import multihost_utils

    own = np.uint32(zlib.crc32(os.uname().nodename.encode()))
    return int((multihost_utils.process_allgather(own) == own).sum())


def check_alike(make_facts: Callable[[], Mapping[str, Any]]) -> None:
    """Refuse processes that are not of one mind: they would wait for ever.

    Args:
      make_facts: gives facts by name; the names are the same in all processes.

    Raises:
      ValueError: in all processes, if a fact differs, as its text does.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    facts = make_facts()
    own = [zlib.crc32(repr(fact).encode()) for fact in facts.values()]
    all_of = multihost_utils.process_allgather(np.array(own, np.uint32))
    differing = np.argwhere((all_of != all_of[0]).T)
    if len(differing):
        name, process = list(facts)[differing[0][0]], differing[0][1]
        raise ValueError(
            f"Expected all processes to be given the same {name}, got another in "
            f"process {process} than in 0."
        )


def all_or_none(action: Callable[[], T]) -> T:
    """What an action gives, if it has memory enough in all processes.

    Raises:
      ExhaustedError: in all processes, if memory runs out in one.
    """
    if jax.process_count() == 1:
        return action()
    error: Exception | None = None
    result: Any = None
    try:
        result = jax.block_until_ready(action())
    except jax.errors.JaxRuntimeError as raised:
        if EXHAUSTED not in str(raised):
            raise
        error = raised
    if any_of(error is not None):
        raise ExhaustedError(f"{EXHAUSTED}: in one of the processes") from error
    return result


def is_exhausted(error: Exception) -> bool:
    """Whether memory ran out, and all processes know of it."""
    alone = jax.process_count() == 1
    return isinstance(error, ExhaustedError) or (alone and EXHAUSTED in str(error))


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def wait(name: str) -> None:
    """Go on when all processes are here; the name is the place's, for messages."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def first_does(action: Callable[[], None], name: str) -> None:
    """Let the first process do something while the others wait for it.

    Raises:
      ValueError: in all processes, if it raised that or an `OSError` in the first.
    """
    if jax.process_count() == 1:
        action()
        return
    error: Exception | None = None
    if is_first():
        try:
            action()
        except (ValueError, OSError) as raised:
            error = raised
    if not any_of(error is not None):
        return
    raise error or ValueError(f"The first process could not {name}; it says why.")


def named(tree: Any) -> dict[str, jax.Array]:
    """Arrays by their path in a tree; keys as their numbers."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): _plain(leaf)
        for path, leaf in leaves
    }


def to_host(tree: Any) -> Any:
    """Arrays of all devices of all processes as NumPy's; keys as their numbers."""
    tree = jax.tree.map(_plain, tree)
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, jax.device_get(tree))
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def as_key(numbers: jax.Array, like: jax.Array) -> jax.Array:
    """Numbers of keys as the keys that they were; of other arrays as they are."""
    if not jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return numbers
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(like))


def spread(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """A NumPy array, the same in all processes, on the devices of all of them."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: array[index]
    )


def _plain(x: Any) -> Any:
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x
