"""Trees of arrays as flat dictionaries, which any library can hold."""

from typing import Any

import jax

from purejaxppo.environments.spaces import joined


def flat_names(tree: Any, root: str = "") -> dict[str, Any]:
    """Dotted name -> leaf, in the order of `jax.tree`.

    >>> flat_names({"kernel": 1, "scale": (2,)}, "params")
    {'params.kernel': 1, 'params.scale.0': 2}

    Raises:
      ValueError: two leaves have the same name.
    """
    leaves, _ = jax.tree.flatten_with_path(tree)
    names: dict[str, Any] = {}
    for path, leaf in leaves:
        name = joined(root, jax.tree_util.keystr(path, simple=True, separator="."))
        if name in names:
            raise ValueError(
                f"Expected each array to have a name of its own, got {name} twice."
            )
        names[name] = leaf
    return names


def fill(like: Any, values: dict[str, Any], root: str = "") -> Any:
    """A tree like another one, of the leaves that `flat_names` gave.

    >>> fill({"kernel": 1, "scale": (2,)}, {"kernel": 3, "scale.0": 4})
    {'kernel': 3, 'scale': (4,)}
    """
    leaves = [values[name] for name in flat_names(like, root)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
