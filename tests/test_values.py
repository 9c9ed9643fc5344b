"""Value maps: round trips, oracles in float64, slopes at 0, preserved outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo.algorithm.normalization import value_maps

SIZES = np.geomspace(1e-4, 1e6, 2001)
X = jnp.asarray(np.concatenate([-SIZES[::-1], [0.0], SIZES]), jnp.float32)


@pytest.fixture(autouse=True)
def strict_types():
    with jax.numpy_dtype_promotion("strict"):
        yield


def h(x, eps):
    """The textbook's form, for float64."""
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + eps * x


def h_inverse(y, eps, number: Any = np.float64):
    y, eps, one = number(y), number(eps), number(1)
    root = np.sqrt(one + 4 * eps * (np.abs(y) + one + eps))
    return np.sign(y) * (np.square((root - one) / (2 * eps)) - one)


MAPS = {
    "eps 1": value_maps.signed_hyperbolic(1.0),
    "eps 1e-2": value_maps.signed_hyperbolic(1e-2),
    "eps 1e-3": value_maps.signed_hyperbolic(1e-3),
    "eps 1e-6": value_maps.signed_hyperbolic(1e-6),
    "eps 0": value_maps.signed_hyperbolic(0.0),
    "traced eps": value_maps.signed_hyperbolic(jnp.float32(1e-2)),
    "symlog": value_maps.symlog(),
}


@pytest.mark.parametrize("name", MAPS)
def test_round_trip_of_ten_orders_of_magnitude(name):
    encode, decode = MAPS[name]
    there = jax.jit(encode)(X)
    assert there.dtype == jnp.float32 and np.all(np.diff(there) > 0)
    # exp(14) multiplies a rounding of its argument by 14
    np.testing.assert_allclose(jax.jit(decode)(there), X, rtol=3e-6)
    np.testing.assert_array_equal(decode(-there), -decode(there))


@pytest.mark.parametrize("eps", [1.0, 1e-2, 1e-3, 1e-6])
def test_signed_hyperbolic_is_the_textbooks_in_float64(eps):
    encode, decode = value_maps.signed_hyperbolic(eps)
    np.testing.assert_allclose(encode(X), h(np.float64(X), eps), rtol=1e-6)
    y = encode(X)
    expected = h_inverse(np.float64(y), eps)
    np.testing.assert_allclose(decode(y), expected, rtol=1e-6, atol=1e-9)


def test_the_textbooks_inverse_loses_the_digits_of_float32():
    y = np.float32(h(SIZES, 1e-3))
    textbook = h_inverse(y, 1e-3, np.float32)
    ours = np.asarray(value_maps.signed_hyperbolic(1e-3).decode(jnp.asarray(y)))
    assert np.max(np.abs(textbook / SIZES - 1)) > 0.1
    assert np.max(np.abs(ours / SIZES - 1)) < 1e-5


def test_by_hand():
    encode, decode = value_maps.signed_hyperbolic(0.01)
    # √(3 + 1) − 1 + .03, and √(1 + 8) − 1 + .08, negated
    np.testing.assert_allclose(encode(jnp.array([3.0, -8.0])), [1.03, -2.08])
    np.testing.assert_allclose(decode(jnp.array([1.03, -2.08])), [3, -8], rtol=1e-6)
    encode, decode = value_maps.symlog()
    e = float(np.e)
    np.testing.assert_allclose(encode(jnp.array([e - 1, 1 - e])), [1, -1], rtol=1e-6)
    np.testing.assert_allclose(decode(jnp.array([-2.0])), [1 - e**2], rtol=1e-6)


@pytest.mark.parametrize(
    "name, slope", [("eps 1e-2", 0.51), ("eps 0", 0.5), ("symlog", 1.0)]
)
def test_slope_at_0_and_everywhere(name, slope):
    encode, decode = MAPS[name]
    np.testing.assert_allclose(jax.grad(encode)(0.0), slope, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(decode)(0.0), 1 / slope, rtol=1e-6)
    up = jax.vmap(jax.grad(encode))(X)
    down = jax.vmap(jax.grad(decode))(encode(X))
    np.testing.assert_allclose(up * down, jnp.ones_like(X), rtol=1e-5)


def test_affine_by_hand():
    encode, decode = value_maps.affine(jnp.float32(3), 2.0)
    np.testing.assert_allclose(encode(jnp.array([3.0, 5, -17])), [0, 1, -10])
    np.testing.assert_allclose(decode(jnp.array([0.0, 1, -10])), [3, 5, -17])


def test_affine_clips_what_is_learned_and_not_what_is_read():
    encode, decode = value_maps.affine(3.0, 2.0, clip=5.0)
    x = jnp.array([3.0, 13.5, 100, -17])
    np.testing.assert_allclose(encode(x), [0, 5, 5, -5])
    np.testing.assert_allclose(decode(jnp.array([7.0])), [17])
    assert "max" not in str(jax.make_jaxpr(value_maps.affine(3.0, 2.0).encode)(x))
    assert "max" in str(jax.make_jaxpr(encode)(x))


@pytest.mark.parametrize("name", [*MAPS, "affine"])
def test_maps_of_batches_under_vmap(name):
    encode, decode = MAPS.get(
        name, value_maps.affine(jnp.float32(1), jnp.float32(2), 5.0)
    )
    x = jax.random.normal(jax.random.key(0), (3, 4))
    there = jax.vmap(encode)(x)
    np.testing.assert_allclose(there, encode(x), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(decode)(there), x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "new_mean, new_std", [(1.0, 2.0), (-50.0, 2.0), (1.0, 0.1), (300.0, 80.0)]
)
def test_popart_preserves_what_the_critic_says(key, new_mean, new_std):
    w, b = jax.random.normal(key, (5,)), jnp.float32(0.3)
    x = jax.random.normal(jax.random.fold_in(key, 1), (100, 5))
    old = jnp.float32(1.0), jnp.float32(2.0)
    new = jnp.float32(new_mean), jnp.float32(new_std)
    scale, shift = jax.jit(value_maps.popart_scale)(*old, *new)
    before = value_maps.affine(*old).decode(x @ w + b)
    after = value_maps.affine(*new).decode(x @ (w * scale) + (b * scale + shift))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_popart_by_hand():
    # σ: 2 → 4 halves the weights; μ: 1 → 3 takes 2 / 4 from the bias
    assert value_maps.popart_scale(1.0, 2.0, 3.0, 4.0) == (0.5, -0.5)
