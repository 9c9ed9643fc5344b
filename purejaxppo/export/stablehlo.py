"""A policy as StableHLO, which later versions of JAX and other machines can run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
from jax import export

from purejaxppo.environments.suites.custom import describe
from purejaxppo.export.array_names import flat_names
from purejaxppo.export.policy import PortablePolicy

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a policy is exported for, if nothing else is asked for."""

KNOWN = (*PLATFORMS, "rocm")
"""Of a name that it does not know JAX makes a program that nothing can run."""


def lower(
    policy: PortablePolicy, obs: Any, platforms: Sequence[str], batch: int | None
) -> export.Exported:
    """Lower a policy for `platforms`, none of which need be here.

    Args:
      policy: from `make_portable`.
      obs: shapes and types of one observation, as `seen` gives them.
      platforms: names, as JAX has them.
      batch: number of observations in a call; any number if None.

    Raises:
      ValueError: it cannot be lowered so.
    """
    _check(platforms, batch)
    size = export.symbolic_shape("batch")[0] if batch is None else batch

    def rows(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), tree
        )

    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    # What the action does not need stays an input: the files are then easy to follow.
    function = jax.jit(policy.call, keep_unused=True)
    arguments = policy.params, rows(obs), rows(policy.memory), key
    try:
        with _no_folders():
            return export.export(function, platforms=platforms)(*arguments)
    except Exception as error:
        hint = "" if batch else "; a fixed size of the batch (--batch) may help"
        raise ValueError(
            f"Expected the policy to be lowered for batches of "
            f"{batch or 'any size'} on {', '.join(platforms)}, got "
            f"{describe(error)}{hint}."
        ) from error


@contextmanager
def _no_folders() -> Iterator[None]:
    """Keep the folders of this machine out of what the program says of its source."""
    name = "jax_hlo_source_file_canonicalization_regex"
    before = jax.config.values[name]
    jax.config.update(name, r"^.*[/\\]")
    try:
        yield
    finally:
        jax.config.update(name, before)


def _check(platforms: Sequence[str], batch: int | None) -> None:
    unknown = [name for name in platforms if name not in KNOWN]
    if unknown or not platforms:
        raise ValueError(
            f"Expected platforms to be some of {', '.join(KNOWN)}, got "
            f"{unknown[0] if unknown else 'none'}."
        )
    if batch is not None and batch < 1:
        raise ValueError(f"Expected batch to be at least 1, got {batch}.")


def signature(
    policy: PortablePolicy, obs: Any, lowered: export.Exported
) -> dict[str, Any]:
    """Names, shapes and types of the inputs and outputs, in their flat order."""
    memory = list(policy.memory)
    inputs = [*sorted(policy.params), *flat_names(obs, "obs"), *sorted(memory), "key"]
    greedy, sampled, _ = jax.tree.unflatten(
        lowered.out_tree, range(len(lowered.out_avals))
    )
    actions = [*flat_names(greedy, "greedy"), *flat_names(sampled, "sampled")]
    return {
        "inputs": _described(inputs, lowered.in_avals),
        "outputs": _described([*actions, *sorted(memory)], lowered.out_avals),
    }


def _described(names: Sequence[str], avals: Sequence[Any]) -> dict[str, str]:
    """Name -> type and shape, such as "float32[batch,4]"."""
    return {
        name: f"{aval.dtype}[{','.join(map(str, aval.shape))}]"
        for name, aval in zip(names, avals, strict=True)
    }
