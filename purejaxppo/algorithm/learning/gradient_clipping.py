"""Guards between gradient and optimizer: too large a gradient is clipped, or ignored.

Each guard is an optax transformation of gradients, for `optax.chain`. Clipping shortens
a gradient, ignoring makes all of it zero. An ignored gradient is still a step: Adam's
moments decay and its count goes up, so the momentum of earlier gradients moves the
parameters on, as in DI-engine. A norm, and whether any entry is too large, is over all
leaves the guard is given: all parameters, or one group's; see `optimizers.grouped`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def global_norm(tree: Any, order: int | None = 2) -> jax.Array:
    """(Σ |g|^p)^(1/p) over all entries of all leaves, max |g| for `order` None: scalar.

    The p-norms other than 2 are taken of g / max |g|, so that no power overflows. The
    norm of no entries is 0. It is not finite if an entry is not.

    Raises:
      ValueError: `order` is neither None nor an integer from 1.
    """
    if order is not None and not (isinstance(order, int) and order >= 1):
        raise ValueError(f"Expected an order of None or an int >= 1, got {order!r}.")
    if order == 2:
        return optax.tree.norm(tree)
    sizes = [jnp.abs(g) for g in jax.tree.leaves(tree)]
    largest = jnp.float32(0)
    for size in sizes:
        largest = jnp.maximum(largest, size.max(initial=0))
    if order is None:
        return largest
    divisor = jnp.where(largest == 0, 1, largest)
    total = sum(((size / divisor) ** order).sum() for size in sizes)
    return largest * jnp.asarray(total, jnp.float32) ** (1 / order)


def clip_by_norm(
    max_norm: float | jax.Array, order: int | None = 2
) -> optax.GradientTransformation:
    """G * min(1, max_norm / ‖g‖_p), p = `order`, None for the largest entry.

    Nothing is added to the norm, unlike torch's 1e-6. A gradient that is not finite
    stays so, in all its entries or some: `ignore_by_norm` stops those.

    Raises:
      ValueError: at the update, `order` is neither None nor an integer from 1.

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks",
    2013, arXiv:1211.5063 (order 2).
    """
    if order == 2:
        return optax.clip_by_global_norm(max_norm)

    def clip(grads: Any, params: Any) -> Any:
        norm = global_norm(grads, order)
        fits = norm <= max_norm
        return jax.tree.map(lambda g: jnp.where(fits, g, g / norm * max_norm), grads)

    return optax.stateless(clip)


def clip_by_value(max_value: float | jax.Array) -> optax.GradientTransformation:
    """Each entry to [−max_value, max_value]; this turns the gradient."""
    return optax.clip(max_value)


def ignore_by_norm(
    max_norm: float | jax.Array, order: int | None = 2
) -> optax.GradientTransformation:
    """G if ‖g‖_p <= max_norm, else 0 everywhere; also 0 if the norm is not finite.

    `order` as in `clip_by_norm`. Nothing is added to the norm: DI-engine compares
    norm + 1e-6, and lets NaN pass.

    Raises:
      ValueError: at the update, `order` is neither None nor an integer from 1.

    Source: DI-engine, `grad_ignore_norm`.
    """

    def fits(grads: Any) -> jax.Array:
        norm = global_norm(grads, order)
        return (norm <= max_norm) & jnp.isfinite(norm)

    return _ignore_unless(fits)


def ignore_by_value(max_value: float | jax.Array) -> optax.GradientTransformation:
    """G if every |g| < max_value, else 0 everywhere; also 0 if any g is not finite.

    DI-engine lets NaN pass. Source: DI-engine, `grad_ignore_value`.
    """
    # NaN and infinity are below nothing.
    return _ignore_unless(lambda grads: global_norm(grads, None) < max_value)


def _ignore_unless(fits: Callable[[Any], jax.Array]) -> optax.GradientTransformation:
    def ignore(grads: Any, params: Any) -> Any:
        keep = fits(grads)
        return jax.tree.map(lambda g: jnp.where(keep, g, 0), grads)

    return optax.stateless(ignore)


class MomentumState(NamedTuple):
    """Steps so far, a scalar, and the second moment v, like the parameters."""

    steps: jax.Array
    second_moment: Any


def clip_by_momentum(
    factor: float | jax.Array = 5.0,
    decay: float | jax.Array = 0.999,
    warmup: int | jax.Array = 100,
) -> optax.GradientTransformation:
    """Each entry to ± factor √v̂, after `warmup` steps that only fill v.

    v ← decay v + (1 − decay) g² of the unclipped gradient, this one included, and
    v̂ = v / (1 − decay^t) at step t = 1, 2, ... A NaN stays in v for good: put
    `ignore_by_norm` before it.

    DI-engine's version differs: it clips to + factor √v̂ whatever the sign of g, and
    corrects for t − 1 of the t steps.

    Source: OpenAI, "Dota 2 with large scale deep reinforcement learning", 2019,
    arXiv:1912.06680 (factor 5); DI-engine, `clip_momentum` (100 steps).
    """

    def init(params: Any) -> MomentumState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return MomentumState(steps=jnp.int32(0), second_moment=zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        steps = state.steps + 1
        moment = jax.tree.map(
            lambda v, g: decay * v + (1 - decay) * g * g, state.second_moment, updates
        )
        correction = 1 - jnp.asarray(decay, jnp.float32) ** steps

        def clip(g: jax.Array, v: jax.Array) -> jax.Array:
            bound = factor * jnp.sqrt(v / correction)
            return jnp.where(steps > warmup, jnp.clip(g, -bound, bound), g)

        clipped = jax.tree.map(clip, updates, moment)
        return clipped, MomentumState(steps=steps, second_moment=moment)

    return optax.GradientTransformation(init, update)
