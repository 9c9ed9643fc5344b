"""Random permutations without a sort: a keyed bijection of the indices."""

import math

import jax
import jax.numpy as jnp

ROUNDS = 4


def permutation(key: jax.Array, n: int) -> jax.Array:
    """A random permutation of 0 ... n - 1, `[n]` int32.

    Writes i = a B + b with n = A B and alternates a += f(b) mod A, b += g(a) mod B,
    f and g tables of random numbers: a Feistel network, each of whose rounds is
    invertible, so that the whole is a bijection. It costs a few integer operations an
    element, where a sort costs many. Sizes without a factor near √n are sorted.

    Source: Luby and Rackoff, "How to construct pseudorandom permutations from
    pseudorandom functions", 1988.
    """
    rows = balanced_factor(n)
    if rows * rows * 16 < n:
        return jnp.argsort(jax.random.bits(key, (n,))).astype(jnp.int32)
    columns = n // rows
    # One draw for all tables; the modulo's bias is below 2⁻¹⁶ for any n < 2³².
    bits = jax.random.bits(key, (ROUNDS, rows + columns))
    row_shift = (bits[:, :columns] % rows).astype(jnp.int32)
    column_shift = (bits[:, columns:] % columns).astype(jnp.int32)
    i = jnp.arange(n, dtype=jnp.int32)
    row, column = i // columns, i % columns
    for f, g in zip(row_shift, column_shift, strict=True):
        row = (row + f[column]) % rows
        column = (column + g[row]) % columns
    return row * columns + column


def balanced_factor(n: int) -> int:
    """The largest divisor of n that is at most √n."""
    return next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
