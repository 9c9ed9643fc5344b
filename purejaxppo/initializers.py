"""Weight initializers free of LAPACK calls, which deadlock when batched on XLA:CPU."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


@jax.jit  # Linen evaluates an initializer at every apply; this traces it once.
def orthonormal_columns(x: jax.Array) -> jax.Array:
    """Orthonormalise the columns of `x` `[rows, columns]`, rows >= columns, in order.

    q_j = v / |v| with v = (I − QQᵀ)² x_j: Gram-Schmidt, each column projected twice,
    which is enough for full precision (Giraud et al., "The loss of orthogonality in
    the Gram-Schmidt orthogonalization process", 2005). The diagonal of R is positive,
    so that the result is Haar-distributed for Gaussian `x`.
    """

    def column(j: jax.Array, q: jax.Array) -> jax.Array:
        # Columns from j on are still zero, so Q Qᵀ projects on the finished ones.
        v = x[:, j]
        for _ in range(2):
            v = v - jnp.matmul(
                q, jnp.matmul(v, q, precision="highest"), precision="highest"
            )
        return q.at[:, j].set(v / jnp.sqrt(jnp.sum(jnp.square(v))))

    return jax.lax.fori_loop(0, x.shape[1], column, jnp.zeros_like(x))


def orthogonal(gain: float = 1.0) -> Initializer:
    """Initializer of (semi-)orthogonal matrices times `gain`.

    Leading axes are flattened to rows, as for a convolution's kernel; the shorter
    side of the matrix is orthonormal. Source: Saxe et al., "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", 2014.
    """

    def init(
        key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, **_: Any
    ) -> jax.Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q = orthonormal_columns(jax.random.normal(key, tall, dtype))
        return gain * (q if rows >= columns else q.T).reshape(shape)

    return init
