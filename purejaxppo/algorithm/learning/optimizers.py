"""Optimizers: optax chains that give a direction, but no step size.

One Adam for all parameters, or one per group of them; `descend` then takes the step.
A guard from `gradients` over all parameters stands before the groups, one over each
group inside them:

    guarded([guard], grouped({"actor": adam(1e-8), "critic": adam(1e-5)}, groups))
    grouped({"actor": guarded([guard], adam(1e-8)), ...}, groups)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adam(
    adam_eps: float | jax.Array, weight_decay: float | jax.Array | None = None
) -> optax.GradientTransformation:
    """m̂ / (√v̂ + eps) of g + weight_decay θ, or of g where that is `None`.

    The decay is coupled, as `torch.optim.Adam(weight_decay=)` has it and unlike AdamW:
    it is a part of the gradient, the gradient of ½ weight_decay Σ θ², and Adam rescales
    it. A loss term l2 Σ θ² is `weight_decay` = 2 l2; where XinJingHao's critic has that
    term of the weights only, this decays biases too. Guards before it do not see it.
    The update needs the parameters then: `update(grads, state, params)`.

    Raises:
      ValueError: at the update, weights decay and no parameters are given.

    Source: Kingma and Ba, "Adam", 2015.
    """
    direction = optax.scale_by_adam(eps=adam_eps)
    if weight_decay is None:
        return direction
    return optax.chain(optax.add_decayed_weights(weight_decay), direction)


def guarded(
    guards: Sequence[optax.GradientTransformation],
    transform: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """`transform` of what the guards leave of the gradient, in their order."""
    return optax.chain(*guards, transform) if guards else transform


def grouped(
    transforms: Mapping[str, optax.GradientTransformation],
    groups: Callable[[Any], Any],
) -> optax.GradientTransformation:
    """Each group of parameters through its own transform, as if it were alone.

    Args:
      transforms: by label, such as "shared", "actor" and "critic"; labels that no
        parameter has are fine.
      groups: params -> their labels, a tree of strings, also a prefix of the params'.
        It gets gradients too, so it may read names and shapes only.

    Raises:
      ValueError: at init, a parameter's label has no transform.
    """

    def labels(params: Any) -> Any:
        tree = groups(params)
        for label in set(jax.tree.leaves(tree)) - set(transforms):
            raise ValueError(
                f"Expected labels among {sorted(transforms)}, got {label!r}."
            )
        return tree

    return optax.partition({**transforms}, labels)


def scale_by_group(
    tree: Any, scales: Mapping[str, float | jax.Array], labels: Any
) -> Any:
    """Each leaf times its group's scalar.

    Args:
      tree: a direction, or anything of the parameters' structure.
      scales: by label, for each that occurs.
      labels: a tree of strings like `tree`, or a prefix of it.

    Raises:
      ValueError: a label has no scale.
    """
    for label in set(jax.tree.leaves(labels)) - set(scales):
        raise ValueError(f"Expected a scale of group {label!r}, got {sorted(scales)}.")
    return _map_groups(lambda label, x: x * scales[label], labels, tree)


def descend(
    params: Any,
    direction: Any,
    learning_rates: float | jax.Array | Mapping[str, float | jax.Array],
    labels: Any = None,
) -> Any:
    """θ − α d, with one learning rate α, or one per group.

    Args:
      params: the parameters θ.
      direction: d, of the same structure.
      learning_rates: a scalar, or scalars by label.
      labels: as in `scale_by_group`; needed with rates by label only.

    Raises:
      ValueError: a label has no rate, or there are rates by label and no labels.
    """
    if not isinstance(learning_rates, Mapping):
        return jax.tree.map(lambda p, d: p - learning_rates * d, params, direction)
    if labels is None:
        raise ValueError(f"Expected labels for {sorted(learning_rates)}, got None.")
    step = scale_by_group(direction, learning_rates, labels)
    return jax.tree.map(lambda p, s: p - s, params, step)


def hold_params(
    new: Any, old: Any, labels: Any, paused: Mapping[str, bool | jax.Array | None]
) -> Any:
    """`new`, but `old` in the groups that are paused.

    Args:
      new: parameters after a step.
      old: parameters before it.
      labels: a tree of strings like the parameters, or a prefix of it.
      paused: by label, may be traced; a group that is absent or `None` is never paused.
    """
    return _map_groups(
        lambda label, n, o: _hold(n, o, paused.get(label)), labels, new, old
    )


def hold_state(
    new: Any, old: Any, paused: Mapping[str, bool | jax.Array | None]
) -> Any:
    """The state of `grouped` in `new`, but `old`'s in the groups that are paused.

    With `hold_params` a paused group stands still: no gradient, no momentum, and its
    moments and count are those of before. The state may be of a chain with guards. A
    joint guard is of no group, so its own state moves on, and a joint norm has the
    paused gradients in it.

    Args:
      new: optimizer state after a step.
      old: optimizer state before it.
      paused: as in `hold_params`.

    Raises:
      ValueError: a group is to be paused, and the state has no groups.
    """
    if all(value is None for value in paused.values()):
        return new
    if not any(map(_is_grouped, jax.tree.leaves(new, is_leaf=_is_grouped))):
        raise ValueError(f"Expected the state of `grouped`, got {type(new).__name__}.")

    def hold(new: Any, old: Any) -> Any:
        if not _is_grouped(new):
            return new
        inner = {
            label: _hold(state, old.inner_states[label], paused.get(label))
            for label, state in new.inner_states.items()
        }
        return new._replace(inner_states=inner)

    return jax.tree.map(hold, new, old, is_leaf=_is_grouped)


def _is_grouped(state: Any) -> bool:
    return isinstance(state, optax.transforms.PartitionState)


def _hold(new: Any, old: Any, paused: bool | jax.Array | None) -> Any:
    if paused is None:
        return new
    return jax.tree.map(lambda n, o: jnp.where(paused, o, n), new, old)


def _map_groups(function: Callable[..., Any], labels: Any, *trees: Any) -> Any:
    """`function(label, *leaves)` over trees that `labels` is a prefix of."""

    def map_group(label: str, *subtrees: Any) -> Any:
        return jax.tree.map(lambda *leaves: function(label, *leaves), *subtrees)

    return jax.tree.map(map_group, labels, *trees)
