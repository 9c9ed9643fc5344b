"""Weight initializers free of LAPACK calls, which deadlock when batched on XLA:CPU."""

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp


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


def orthogonal(noise: jax.Array) -> jax.Array:
    """A (semi-)orthogonal matrix from standard normals of its shape.

    Leading axes are flattened to rows, as for a convolution's kernel; the shorter
    side of the matrix is orthonormal. Source: Saxe et al., "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", 2014.
    """
    matrix = noise.reshape(-1, noise.shape[-1])
    if matrix.shape[0] < matrix.shape[1]:
        return orthonormal_columns(matrix.T).T.reshape(noise.shape)
    return orthonormal_columns(matrix).reshape(noise.shape)


def normals(key: jax.Array, like: Any) -> Any:
    """Independent standard normals in the shapes of a tree's leaves, from one draw.

    A draw for each leaf would be a program of its own each: most of the time that
    compiling a whole training run takes for its start.
    """
    leaves, treedef = jax.tree.flatten(like)
    ends = list(accumulate(x.size for x in leaves))
    parts = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])
    shaped = [part.reshape(x.shape) for part, x in zip(parts, leaves, strict=True)]
    return treedef.unflatten(shaped)
