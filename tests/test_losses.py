"""Losses by hand arithmetic and by their identities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purejaxppo.algorithm.learning import loss_terms


@pytest.fixture(autouse=True)
def strict_types():
    with jax.numpy_dtype_promotion("strict"):
        yield


def close(value, expected, **tolerance):
    np.testing.assert_allclose(value, expected, **{"rtol": 1e-5, **tolerance})


@pytest.mark.parametrize(
    "ratio, advantage, expected",
    [
        (1.5, 1.0, -1.2),  # clipped from above: the gain is bounded
        (0.5, 1.0, -0.5),  # not clipped: the way back is open
        (0.5, -1.0, 0.8),  # clipped from below
        (1.5, -1.0, 1.5),  # not clipped
        (1.1, 2.0, -2.2),  # inside
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, expected):
    arrays = jnp.array([ratio]), jnp.array([advantage])
    close(loss_terms.clipped_surrogate(*arrays, jnp.float32(0.2)), expected)


@pytest.mark.parametrize(
    "ratio, advantage, moves",
    [(1.5, 1, False), (0.5, 1, True), (0.5, -1, False), (1.5, -1, True)],
)
def test_clipping_stops_the_gradient_where_it_holds(ratio, advantage, moves):
    def loss(ratio):
        return loss_terms.clipped_surrogate(ratio, jnp.float32([advantage]), 0.2)

    assert bool(jax.grad(loss)(jnp.array([ratio]))[0] != 0) is moves


def test_at_ratio_1_the_gradient_is_the_policy_gradient(key):
    logits = jax.random.normal(key, (32, 3))
    action = jnp.arange(32) % 3
    advantage = jax.random.normal(jax.random.fold_in(key, 1), (32,))

    def log_prob(logits):
        return jax.nn.log_softmax(logits)[jnp.arange(32), action]

    def surrogate(new):
        ratio = jnp.exp(log_prob(new) - log_prob(logits))
        return loss_terms.clipped_surrogate(ratio, advantage, 0.2)

    expected = jax.grad(lambda x: -(log_prob(x) * advantage).mean())(logits)
    close(jax.grad(surrogate)(logits), expected, atol=1e-7)


def test_clipping_is_inert_at_a_huge_epsilon(key):
    ratio = jnp.exp(jax.random.normal(key, (64,)))
    advantage = jax.random.normal(jax.random.fold_in(key, 1), (64,))
    value = loss_terms.clipped_surrogate(ratio, advantage, 1e9)
    close(value, -(ratio * advantage).mean())
    close(loss_terms.surrogate(ratio, advantage), value)
    close(loss_terms.clipped_surrogate(ratio, advantage, 1e9, 1e9), value)
    old = jnp.zeros(64)
    free = loss_terms.value_loss(ratio, old, advantage)
    for mode in ("max", "clipped", "error"):
        clipped = loss_terms.value_loss(
            ratio, old, advantage, clip_eps=1e9, clip_mode=mode
        )
        close(clipped, free)
    assert loss_terms.clip_fraction(ratio, 1e9) == 0


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 5.0])
def test_dual_clip_by_hand(ratio, advantage):
    # ε = .2, c = 3. A = 1: min(ρ, 1.2); A = −1: max(min(−ρ, −clip(ρ)), −3)
    gains = {
        (0.5, 1.0): 0.5,
        (1.0, 1.0): 1.0,
        (5.0, 1.0): 1.2,
        (0.5, -1.0): -0.8,
        (1.0, -1.0): -1.0,
        (5.0, -1.0): -3.0,
    }
    arrays = jnp.array([ratio]), jnp.array([advantage])
    loss = jax.jit(loss_terms.clipped_surrogate)(*arrays, 0.2, jnp.float32(3))
    close(loss, -gains.get((ratio, advantage), 0.0))


@pytest.mark.parametrize(
    "ratio, advantage, moves",
    [(1.0, 1, True), (0.5, 1, True), (1.5, -1, True), (2.9, -1, True), (5, -1, False)],
)
def test_dual_clip_stops_only_huge_ratios_of_bad_actions(ratio, advantage, moves):
    # Without its gate A < 0 the loss is −cA for every A > 0, and nothing moves.
    def loss(ratio):
        return loss_terms.clipped_surrogate(ratio, jnp.float32([advantage]), 0.2, 3.0)

    assert bool(jax.grad(loss)(jnp.float32([ratio]))[0] != 0) is moves


def test_surrogate_by_hand():
    close(loss_terms.surrogate(jnp.array([5.0, 0.5]), jnp.array([1.0, -2.0])), -2)


# V_old + clip(V − V_old, ±.2), and the squared errors before and after the clip:
# (1.5, 1, 2): 1.2, .25 and .64. (.7, 1, 2): .8, 1.69 and 1.44. Inside, both are .81.
CLIPS = {
    "max": [0.64, 1.69, 0.81],
    "clipped": [0.64, 1.44, 0.81],
    "error": [0.2, 0.2, 0.2],
}


@pytest.mark.parametrize("mode", CLIPS)
def test_clipped_value_loss_by_hand(mode):
    value, old, target = jnp.array([[1.5, 0.7, 1.1], [1.0] * 3, [2.0] * 3])
    for i, expected in enumerate(CLIPS[mode]):
        one = (x[i : i + 1] for x in (value, old, target))
        loss = loss_terms.value_loss(*one, clip_eps=jnp.float32(0.2), clip_mode=mode)
        close(loss, expected / 2)
    loss = loss_terms.value_loss(value, old, target, clip_eps=0.2, clip_mode=mode)
    close(loss, np.mean(CLIPS[mode]) / 2)


def test_clip_modes_differ_in_where_the_critic_still_learns():
    # At (1.5, 1, 2) the clip holds; at (.7, 1, 2) V moves the right way. Errors: > .2.
    value, old, target = jnp.array([1.5, 0.7]), jnp.ones(2), jnp.full(2, 2.0)

    def moves(mode):
        def loss(value):
            return loss_terms.value_loss(
                value, old, target, clip_eps=0.2, clip_mode=mode
            )

        return (jax.grad(loss)(value) != 0).tolist()

    assert moves("max") == [False, True]
    assert moves("clipped") == moves("error") == [False, False]


def test_value_loss_has_a_half_and_a_square():
    value, target = jnp.array([1.0, 2.0]), jnp.array([4.0, 2.0])
    close(loss_terms.value_loss(value, value, target), 9 / 4)


@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_huber_is_optax_s(key, delta):
    value, target = jax.random.normal(key, (2, 50)) * 3

    def loss(value):
        return loss_terms.value_loss(value, value, target, huber=jnp.float32(delta))

    def oracle(value):
        return optax.losses.huber_loss(value, target, delta=delta).mean()

    close(loss(value), oracle(value))
    close(jax.grad(loss)(value), jax.grad(oracle)(value), atol=1e-7)
    assert (jax.grad(loss)(target) == 0).all()


def test_huber_works_inside_every_clip():
    # |d| = 2, δ = 1: e = 2 · 2 − 1 = 3; after the clip |d| = 2.8, e = 4.6
    arrays = jnp.array([3.0]), jnp.array([2.0]), jnp.array([5.0])
    for mode, expected in {"max": 4.6, "clipped": 4.6, "error": 0.2}.items():
        loss = loss_terms.value_loss(*arrays, clip_eps=0.2, clip_mode=mode, huber=1.0)
        close(loss, expected / 2)


def test_a_target_that_holds_the_value_itself_teaches_nothing():
    # The advantages-recomputing demo that forgets to stop this gradient.
    value, advantage = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])

    def loss(value, stop):
        target = stop(value + advantage)
        return loss_terms.value_loss(value, value, target)

    assert (jax.grad(loss)(value, lambda x: x) == 0).all()
    close(jax.grad(loss)(value, jax.lax.stop_gradient), -advantage / 2)


def test_an_unknown_clip_mode_is_refused():
    with pytest.raises(ValueError, match="'both'"):
        loss_terms.value_loss(*[jnp.ones(2)] * 3, clip_mode="both")


def test_estimators_of_the_kl_by_hand():
    log_ratio = jnp.log(jnp.array([2.0, 0.5, 2.0, 1.0]))
    log_2 = np.log(2)
    close(loss_terms.kl_k1(log_ratio), -log_2 / 4)
    close(loss_terms.kl_k2(log_ratio), 3 * log_2**2 / 8)
    # ρ − 1: 1, −½, 1, 0
    close(loss_terms.approximate_kl(log_ratio), (1.5 - log_2) / 4)


def test_estimators_of_the_kl_agree_on_close_policies(key):
    # old = N(0, 1), new = N(.1, 1): KL = .005, and k2 is exact to second order
    x = jax.random.normal(key, (400_000,))
    log_ratio = 0.1 * x - 0.005
    close(loss_terms.kl_k1(log_ratio), 0.005, atol=4 * 0.1 / 400_000**0.5, rtol=0)
    close(loss_terms.kl_k2(log_ratio), 0.005, rtol=0.02)
    close(loss_terms.approximate_kl(log_ratio), 0.005, rtol=0.02)


def test_approximate_kl_is_never_negative(key):
    log_ratio = (
        jax.random.normal(key, (1000, 1)) * jnp.geomspace(1e-4, 3, 1000)[:, None]
    )
    assert (jax.vmap(loss_terms.approximate_kl)(log_ratio) >= 0).all()
    assert loss_terms.approximate_kl(jnp.zeros(5)) == 0


def test_approximate_kl_has_the_true_kl_as_its_mean(key):
    # old = N(0, 1), new = N(μ, σ): KL(old ‖ new) = ln σ + (1 + μ²) / (2 σ²) − ½
    mean, std = 0.3, 1.2
    x = jax.random.normal(key, (400_000,))
    log_ratio = -(((x - mean) / std) ** 2) / 2 - jnp.log(std) + x**2 / 2
    kl = np.log(std) + (1 + mean**2) / (2 * std**2) - 0.5
    close(loss_terms.approximate_kl(log_ratio), kl, rtol=0.02)


def test_clip_fraction_by_hand():
    ratio = jnp.array([1.0, 1.1, 1.3, 0.7])
    assert loss_terms.clip_fraction(ratio, jnp.float32(0.2)) == 0.5


def test_explained_variance():
    target = jnp.array([1.0, 2.0, 3.0])
    close(loss_terms.explained_variance(target, target), 1)
    close(loss_terms.explained_variance(target + 7, target), 1)
    close(loss_terms.explained_variance(jnp.zeros(3), target), 0)
    close(loss_terms.explained_variance(-target, target), -3)
    assert jnp.isnan(loss_terms.explained_variance(target, jnp.ones(3)))


def test_bounds_loss_by_hand():
    # Beyond 1.1: .1 and −.9 in the first sample, nothing in the second
    mu = jnp.array([[1.2, -2.0], [1.1, -0.3]])
    close(loss_terms.bounds_loss(mu, jnp.float32(1.1)), (0.01 + 0.81) / 2)
    grad = jax.grad(loss_terms.bounds_loss)(mu, 1.1)
    close(grad, [[0.1, -0.9], [0, 0]], atol=1e-6)
    close(loss_terms.mean_regularization(mu), (1.44 + 4 + 1.21 + 0.09) / 2)
    close(loss_terms.bounds_loss(mu, 0.0), loss_terms.mean_regularization(mu))


WEIGHTED: dict[str, Any] = {
    "mean": lambda x, y, z, w: loss_terms.mean(x, w),
    "surrogate": lambda x, y, z, w: loss_terms.surrogate(x, y, w),
    "clipped": lambda x, y, z, w: loss_terms.clipped_surrogate(x, y, 0.2, weight=w),
    "dual": lambda x, y, z, w: loss_terms.clipped_surrogate(x, y, 0.2, 3.0, w),
    "value": lambda x, y, z, w: loss_terms.value_loss(x, y, z, weight=w),
    "value max": lambda x, y, z, w: loss_terms.value_loss(
        x, y, z, clip_eps=0.2, weight=w
    ),
    "value clipped": lambda x, y, z, w: loss_terms.value_loss(
        x, y, z, clip_eps=0.2, clip_mode="clipped", weight=w
    ),
    "value error": lambda x, y, z, w: loss_terms.value_loss(
        x, y, z, clip_eps=0.2, clip_mode="error", huber=0.1, weight=w
    ),
    "k1": lambda x, y, z, w: loss_terms.kl_k1(x, w),
    "k2": lambda x, y, z, w: loss_terms.kl_k2(x, w),
    "k3": lambda x, y, z, w: loss_terms.approximate_kl(x, w),
    "bounds": lambda x, y, z, w: loss_terms.bounds_loss(
        jnp.stack([x, y, z], -1), 0.5, weight=w
    ),
    "pull": lambda x, y, z, w: loss_terms.mean_regularization(jnp.stack([x, y], -1), w),
    "clip fraction": lambda x, y, z, w: loss_terms.clip_fraction(x, 0.5, w),
    "explained": lambda x, y, z, w: loss_terms.explained_variance(x, y, w),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weight_0_is_a_dropped_sample(key, name):
    x = jax.random.normal(key, (3, 4, 5))
    kept = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.6, (4, 5))
    few = WEIGHTED[name](*(a[kept] for a in x), None)
    assert few != WEIGHTED[name](*x, None)
    for weight in (kept, kept.astype(jnp.float32)):
        for dropped in (0.0, jnp.nan, jnp.inf):
            arrays = jnp.where(kept[None], x, dropped)
            close(jax.jit(WEIGHTED[name])(*arrays, weight), few)
    close(WEIGHTED[name](*x, jnp.ones((4, 5))), WEIGHTED[name](*x, None))


@pytest.mark.parametrize("name", [name for name in WEIGHTED if name != "explained"])
def test_no_sample_left_is_0_and_moves_nothing(key, name):
    x, weight = jax.random.normal(key, (3, 6)), jnp.zeros(6)
    loss, grads = jax.value_and_grad(lambda x: WEIGHTED[name](*x, weight))(x)
    assert loss == 0 and (grads == 0).all()


def test_weights_of_another_shape_are_refused():
    with pytest.raises(AssertionError):
        loss_terms.mean(jnp.ones((4, 3)), jnp.ones((4, 1)))


def plain_clipped_surrogate(ratio, advantage, clip_eps):
    clipped = jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps)
    return -jnp.minimum(ratio * advantage, clipped * advantage).mean()


def plain_value_loss(value, old_value, target, clip_eps):
    clipped = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
    worse = jnp.maximum(jnp.square(value - target), jnp.square(clipped - target))
    return 0.5 * worse.mean()


OFF: dict[str, Any] = {
    "clipped": (loss_terms.clipped_surrogate, plain_clipped_surrogate, 2, (0.2,)),
    "value": (
        loss_terms.value_loss,
        lambda v, o, r: 0.5 * jnp.square(v - r).mean(),
        3,
        (),
    ),
    "value max": (
        lambda v, o, r, e: loss_terms.value_loss(v, o, r, clip_eps=e),
        plain_value_loss,
        3,
        (0.2,),
    ),
    "k3": (loss_terms.approximate_kl, lambda x: (jnp.expm1(x) - x).mean(), 1, ()),
    "clip fraction": (
        loss_terms.clip_fraction,
        lambda x, e: (jnp.abs(x - 1) > e).mean(dtype=jnp.float32),
        1,
        (0.2,),
    ),
    "explained": (
        loss_terms.explained_variance,
        lambda v, r: jnp.where(r.var() > 0, 1 - (r - v).var() / r.var(), jnp.nan),
        2,
        (),
    ),
}


@pytest.mark.parametrize("name", OFF)
def test_what_is_off_changes_no_bit(key, name):
    loss, plain, arrays, floats = OFF[name]
    x = jax.random.normal(key, (arrays, 1000))
    assert jax.jit(loss)(*x, *floats) == jax.jit(plain)(*x, *floats)
    if name not in ("explained", "clip fraction"):  # these write the same differently
        programs = [str(jax.make_jaxpr(f)(*x, *floats)) for f in (loss, plain)]
        assert programs[0] == programs[1]
