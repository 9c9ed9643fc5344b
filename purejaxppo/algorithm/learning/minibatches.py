"""Random permutations without a sort: a keyed bijection of the indices."""

import math

import jax
import jax.numpy as jnp

ROUNDS = 2
"""Each is two rounds of Luby and Rackoff, whose proof asks for four."""


def draw_permutations(key: jax.Array, num: int, n: int) -> jax.Array:
    """`num` random permutations of 0 ... n - 1, `[num, n]` int32.

    Writes i = a B + b with n = A B and alternates a += f(b) mod A, b += g(a) mod B,
    f and g tables of random numbers: a Feistel network, each of whose rounds is
    invertible, so that the whole is a bijection. It costs a few integer operations an
    element, where a sort costs many. Sizes without a factor near √n are sorted.

    Source: Luby and Rackoff, "How to construct pseudorandom permutations from
    pseudorandom functions", 1988.
    """
    rows = balanced_factor(n)
    if rows * rows * 16 < n:
        return jnp.argsort(jax.random.bits(key, (num, n)), axis=1).astype(jnp.int32)
    columns = n // rows
    # One draw for all tables; the modulo's bias is below 2⁻¹⁶ for any n < 2³².
    bits = jax.random.bits(key, (num, ROUNDS, rows + columns))
    row_shift = (bits[..., :columns] % rows).astype(jnp.int32)
    column_shift = (bits[..., columns:] % columns).astype(jnp.int32)
    return jax.vmap(feistel)(row_shift, column_shift)


def feistel(row_shift: jax.Array, column_shift: jax.Array) -> jax.Array:
    """The bijection of 0 ... A B - 1 by tables `[rounds, B]` and `[rounds, A]`."""
    rows, columns = column_shift.shape[1], row_shift.shape[1]
    i = jnp.arange(rows * columns, dtype=jnp.int32)
    row, column = i // columns, i % columns
    for f, g in zip(row_shift, column_shift, strict=True):
        row = (row + f[column]) % rows
        column = (column + g[row]) % columns
    return row * columns + column


def balanced_factor(n: int) -> int:
    """The largest divisor of n that is at most √n."""
    return next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
