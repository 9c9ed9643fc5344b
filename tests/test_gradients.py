"""Guards by hand vectors, against optax and NumPy, and where their sources err."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purejaxppo.algorithm.learning import gradient_clipping

G = {"a": jnp.float32([3.0]), "b": {"c": jnp.float32([[0.0, -4.0]])}}
ZERO = jax.tree.map(jnp.zeros_like, G)
ORDERS = [(1, 7.0), (2, 5.0), (3, 91.0 ** (1 / 3)), (None, 4.0)]


def out(guard, grads):
    """What a stateless guard makes of gradients, compiled."""
    return jax.jit(lambda g: guard.update(g, guard.init(g))[0])(grads)


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def close(a, b, **tolerance):
    np.testing.assert_allclose(flat(a), flat(b), **{"rtol": 1e-6, **tolerance})


def equal(a, b):
    np.testing.assert_array_equal(flat(a), flat(b))


def times(tree, scale):
    return jax.tree.map(lambda g: g * scale, tree)


@pytest.mark.parametrize("order, norm", ORDERS)
def test_norm_of_3_and_4(order, norm):
    np.testing.assert_allclose(gradient_clipping.global_norm(G, order), norm, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, None])
def test_norm_equals_numpys(key, order):
    x = jax.random.normal(key, (4, 5)) * 10
    tree = {"a": x[:1, :2], "b": [x[:1, 2:], x[1:]]}
    expected = np.linalg.norm(np.ravel(x), np.inf if order is None else order)
    np.testing.assert_allclose(
        gradient_clipping.global_norm(tree, order), expected, rtol=1e-5
    )


@pytest.mark.parametrize("order", [3, 8, 64])
def test_no_power_overflows_or_vanishes(order):
    for size in (1e-15, 1e15):
        norm = gradient_clipping.global_norm([jnp.float32([size, -size])], order)
        np.testing.assert_allclose(norm, size * 2 ** (1 / order), rtol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, None])
def test_norm_of_nothing_and_of_zeros_is_0(order):
    for tree in ({}, ZERO, {"a": jnp.zeros((0, 2))}):
        assert gradient_clipping.global_norm(tree, order) == 0
    clip = gradient_clipping.clip_by_norm(0.5, order)
    equal(out(clip, ZERO), ZERO)
    assert out(clip, {}) == {}


@pytest.mark.parametrize("order", [0, -1, 1.5, "inf", float("inf")])
def test_orders_that_are_none(order):
    for make in (gradient_clipping.clip_by_norm, gradient_clipping.ignore_by_norm):
        guard = make(1.0, order)
        with pytest.raises(ValueError, match="order of None or an int"):
            guard.update(G, guard.init(G))


@pytest.mark.parametrize("order, norm", ORDERS)
def test_clip_by_norm_by_hand(order, norm):
    close(out(gradient_clipping.clip_by_norm(0.5, order), G), times(G, 0.5 / norm))
    equal(out(gradient_clipping.clip_by_norm(norm * 1.001, order), G), G)


def test_clip_by_norm_2_is_optax():
    def program(guard):
        return str(jax.make_jaxpr(lambda g: guard.update(g, guard.init(g)))(G))

    ours = program(gradient_clipping.clip_by_norm(0.5))
    assert ours == program(optax.clip_by_global_norm(0.5))
    assert ours != program(gradient_clipping.clip_by_norm(0.5, 3))


def test_nothing_is_added_to_the_norm():
    """As torch adds 1e-6, a norm of 1e-6 would be clipped to half of the bound."""
    tiny = times(G, 1e-6 / 5)
    for order in (2, 3):
        norm = gradient_clipping.global_norm(tiny, order)
        clipped = out(gradient_clipping.clip_by_norm(norm * 0.999, order), tiny)
        close(clipped, times(tiny, 0.999), rtol=1e-5)
        for make in (gradient_clipping.clip_by_norm, gradient_clipping.ignore_by_norm):
            equal(out(make(norm * 1.001, order), tiny), tiny)


@pytest.mark.parametrize("order", [1, 2, 3, None])
def test_a_clipped_nan_stays_visible(order):
    bad = {**G, "a": jnp.float32([jnp.nan])}
    assert np.isnan(flat(out(gradient_clipping.clip_by_norm(1.0, order), bad))).any()


def test_clip_by_value_by_hand():
    clipped = out(gradient_clipping.clip_by_value(3.5), G)
    equal(clipped, [3.0, 0.0, -3.5])
    equal(out(gradient_clipping.clip_by_value(4.0), G), G)
    equal(clipped, out(optax.clip(3.5), G))


@pytest.mark.parametrize("order, norm", ORDERS)
def test_ignore_by_norm_by_hand(order, norm):
    equal(out(gradient_clipping.ignore_by_norm(norm * 1.001, order), G), G)
    equal(out(gradient_clipping.ignore_by_norm(norm * 0.999, order), G), ZERO)


def test_the_edges_of_ignoring():
    """A norm may be the bound itself, a value may not."""
    equal(out(gradient_clipping.ignore_by_norm(5.0), G), G)
    equal(out(gradient_clipping.ignore_by_value(4.0), G), ZERO)


def test_ignore_by_value_by_hand():
    equal(out(gradient_clipping.ignore_by_value(4.001), G), G)
    equal(out(gradient_clipping.ignore_by_value(3.999), G), ZERO)  # 3 < 3.999 goes, too


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("bound", [1e9, jnp.inf])
def test_what_is_not_finite_is_ignored(bad, bound):
    """DI-engine's comparisons are false of NaN, and so let it pass."""
    grads = {**G, "a": jnp.float32([bad])}
    guards = [gradient_clipping.ignore_by_norm(bound, p) for p in (1, 2, 3, None)]
    for guard in [*guards, gradient_clipping.ignore_by_value(bound)]:
        equal(out(guard, grads), ZERO)


def test_ignoring_still_moves_by_momentum():
    chain: Any = optax.chain(
        gradient_clipping.ignore_by_norm(6.0), optax.scale_by_adam(eps=0.0)
    )
    _, state = chain.update(G, chain.init(G))
    direction, (_, after) = chain.update(times(G, 100), state)
    # m̂ = .09 g / .19, v̂ = .000999 g² / .001999: of zeros, not of 100 g.
    expected = 0.09 / 0.19 / np.sqrt(0.000999 / 0.001999)
    close(direction["a"], [expected], rtol=1e-3)
    assert after.count == 2


def momentum_by_numpy(grads, factor, decay, warmup):
    """All clipped gradients, entry by entry."""
    clipped, v = np.zeros_like(grads), np.zeros(grads.shape[1])
    for t, g in enumerate(grads):
        for i in range(len(g)):
            v[i] = decay * v[i] + (1 - decay) * g[i] ** 2
            bound = factor * np.sqrt(v[i] / (1 - decay ** (t + 1)))
            within = -bound if g[i] < -bound else min(g[i], bound)
            clipped[t, i] = within if t >= warmup else g[i]
    return clipped


def over_time(guard: Any, grads) -> Any:
    def step(state, g):
        g, state = guard.update({"w": g}, state)
        return state, g["w"]

    return jax.lax.scan(step, jax.jit(guard.init)({"w": grads[0]}), grads)


def heavy_tailed(steps=60):
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(steps, 4)) * rng.choice([1, 30], (steps, 4), p=[0.9, 0.1])
    grads[:, 3] = 0
    return grads


@pytest.mark.parametrize("factor, decay, warmup", [(2.0, 0.99, 5), (0.5, 0.9, 0)])
def test_momentum_equals_a_loop(factor, decay, warmup):
    grads = heavy_tailed()
    expected = momentum_by_numpy(grads, factor, decay, warmup)
    assert (expected[:warmup] == grads[:warmup]).all()
    cut = expected != grads
    assert (cut & (grads < 0)).any() and (cut & (grads > 0)).any()
    guard = gradient_clipping.clip_by_momentum(factor, decay, warmup)
    state, clipped = over_time(guard, jnp.float32(grads))
    np.testing.assert_allclose(clipped, expected, rtol=1e-4, atol=1e-6)
    assert state.steps == len(grads)


def test_momentum_clips_to_the_gradients_own_sign():
    """DI-engine puts + factor √v̂ in the place of a large negative entry.

    And it corrects for one step less: of the second gradient, by 1 − .5 and not .75.
    """
    grads = jnp.float32([[1.0], [-3.0]])
    _, clipped = over_time(gradient_clipping.clip_by_momentum(0.5, 0.5, 1), grads)
    second_moment = (0.25 * 1 + 0.5 * 9) / 0.75
    np.testing.assert_allclose(clipped[:, 0], [1, -0.5 * np.sqrt(second_moment)], 1e-6)


def test_momentum_waits_100_steps():
    grads = jnp.ones((102, 1)).at[99:].set(1e3)
    _, clipped = over_time(gradient_clipping.clip_by_momentum(), grads)
    np.testing.assert_array_equal(clipped[:100], grads[:100])
    assert (clipped[100:] < 9.9e2).all() and (clipped[100:] > 100).all()


GUARDS = [
    lambda x: gradient_clipping.clip_by_norm(x, 2),
    lambda x: gradient_clipping.clip_by_norm(x, 3),
    lambda x: gradient_clipping.clip_by_norm(x, None),
    gradient_clipping.clip_by_value,
    lambda x: gradient_clipping.ignore_by_norm(x, 1),
    gradient_clipping.ignore_by_value,
    lambda x: gradient_clipping.clip_by_momentum(x / 10, x / 10, x - 3),
]


@pytest.mark.parametrize("make", GUARDS)
def test_bounds_may_be_traced_and_vmapped(make):
    grads, traces = jnp.float32(heavy_tailed(8)), []

    def run(x):
        traces.append(x)
        return over_time(make(x), grads)

    bounds = jnp.float32([2.0, 4.5, 9.0])
    state, clipped = jax.jit(jax.vmap(run))(bounds)
    assert len(traces) == 1
    assert len(np.unique(np.asarray(clipped).reshape(3, -1), axis=0)) > 1
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    for x, g in zip([2.0, 4.5, 9.0], clipped, strict=True):
        np.testing.assert_allclose(g, over_time(make(x), grads)[1], rtol=1e-5)
