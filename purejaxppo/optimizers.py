"""The optimizer: an optax chain that gives a direction, but no step size."""

import jax
import optax


def make_optimizer(
    max_grad_norm: float | jax.Array | None, adam_eps: float | jax.Array
) -> optax.GradientTransformation:
    """Clip by the global norm (unless `None`), then Adam, without a learning rate.

    The learning rate is multiplied in by the caller: it follows updates, not
    optimizer steps, and stays out of the optimizer's state. Both numbers may be
    traced. Source: Kingma and Ba, "Adam", 2015.
    """
    adam = optax.scale_by_adam(eps=adam_eps)
    if max_grad_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), adam)
