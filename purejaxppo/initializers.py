"""Weight initializers free of LAPACK calls, which deadlock when batched on XLA:CPU."""

import math
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

SCHEMES = ("orthogonal", "xavier", "kaiming", "lecun", "normal")

GAINS = {
    "linear": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "elu": 1.245198,
    "gelu": 1.533580,
    "silu": 1.676532,
}
"""Gains by activation; see `activation_gain`."""


def activation_gain(activation: str) -> float:
    """Factor that keeps the size of signals through layers of `activation`.

    1 / √E[f(z)²], z standard normal, is √2 of relu, √(2 / 1.0001) of leaky_relu (slope
    .01), 1.2452 of elu, 1.5335 of gelu and 1.6765 of silu; tanh has the customary 5/3
    (the formula gives 1.59), linear 1.

    Raises:
      ValueError: no such activation.

    Source: He et al., "Delving deep into rectifiers", 2015, eq. 10; 5/3 is that of
    PyTorch's `calculate_gain`.
    """
    if activation not in GAINS:
        names = ", ".join(GAINS)
        raise ValueError(f"Expected activation to be one of {names}, got {activation}.")
    return GAINS[activation]


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


def xavier(noise: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    """N(0, 2 / (fan_in + fan_out)) from standard normals of the kernel's shape.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", 2010, eq. 12.
    """
    return math.sqrt(2 / (fan_in + fan_out)) * noise


def kaiming(noise: jax.Array, fan_in: int, gain: float | jax.Array) -> jax.Array:
    """N(0, gain² / fan_in) from standard normals; for `gain`, see `activation_gain`.

    Source: He et al., "Delving deep into rectifiers", 2015, eq. 10.
    """
    return gain / math.sqrt(fan_in) * noise


def lecun(noise: jax.Array, fan_in: int) -> jax.Array:
    """N(0, 1 / fan_in) from standard normals of the kernel's shape.

    Source: LeCun et al., "Efficient backprop", 1998, eq. 16.
    """
    return noise / math.sqrt(fan_in)


def normal(noise: jax.Array, std: float | jax.Array) -> jax.Array:
    """N(0, std²) from standard normals, whatever the layer's size: for ablations."""
    return std * noise


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
