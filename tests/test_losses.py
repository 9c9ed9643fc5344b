"""Losses by hand arithmetic and by their identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo import losses


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
    close(losses.clipped_surrogate(*arrays, jnp.float32(0.2)), expected)


@pytest.mark.parametrize(
    "ratio, advantage, moves",
    [(1.5, 1, False), (0.5, 1, True), (0.5, -1, False), (1.5, -1, True)],
)
def test_clipping_stops_the_gradient_where_it_holds(ratio, advantage, moves):
    def loss(ratio):
        return losses.clipped_surrogate(ratio, jnp.float32([advantage]), 0.2)

    assert bool(jax.grad(loss)(jnp.array([ratio]))[0] != 0) is moves


def test_at_ratio_1_the_gradient_is_the_policy_gradient(key):
    logits = jax.random.normal(key, (32, 3))
    action = jnp.arange(32) % 3
    advantage = jax.random.normal(jax.random.fold_in(key, 1), (32,))

    def log_prob(logits):
        return jax.nn.log_softmax(logits)[jnp.arange(32), action]

    def surrogate(new):
        ratio = jnp.exp(log_prob(new) - log_prob(logits))
        return losses.clipped_surrogate(ratio, advantage, 0.2)

    expected = jax.grad(lambda x: -(log_prob(x) * advantage).mean())(logits)
    close(jax.grad(surrogate)(logits), expected, atol=1e-7)


def test_clipping_is_inert_at_a_huge_epsilon(key):
    ratio = jnp.exp(jax.random.normal(key, (64,)))
    advantage = jax.random.normal(jax.random.fold_in(key, 1), (64,))
    value = losses.clipped_surrogate(ratio, advantage, 1e9)
    close(value, -(ratio * advantage).mean())
    old = jnp.zeros(64)
    clipped = losses.clipped_squared_error(ratio, old, advantage, 1e9)
    close(clipped, losses.squared_error(ratio, advantage))
    assert losses.clip_fraction(ratio, 1e9) == 0


@pytest.mark.parametrize(
    "value, old, target, expected",
    [
        # V_old + clip(.5, ±.2) = 1.2: max((1.5 − 2)² = .25, (1.2 − 2)² = .64)
        (1.5, 1.0, 2.0, 0.64),
        # clip(−.3) = −.2 gives .8: max((.7 − 2)² = 1.69, (.8 − 2)² = 1.44)
        (0.7, 1.0, 2.0, 1.69),
        # inside the clip both agree
        (1.1, 1.0, 2.0, 0.81),
    ],
)
def test_clipped_value_loss_by_hand(value, old, target, expected):
    arrays = jnp.array([value]), jnp.array([old]), jnp.array([target])
    close(losses.clipped_squared_error(*arrays, jnp.float32(0.2)), expected / 2)


def test_squared_error_has_a_half():
    close(losses.squared_error(jnp.array([1.0, 2.0]), jnp.array([3.0, 2.0])), 1.0)


def test_approximate_kl_is_never_negative(key):
    log_ratio = (
        jax.random.normal(key, (1000, 1)) * jnp.geomspace(1e-4, 3, 1000)[:, None]
    )
    assert (jax.vmap(losses.approximate_kl)(log_ratio) >= 0).all()
    assert losses.approximate_kl(jnp.zeros(5)) == 0


def test_approximate_kl_has_the_true_kl_as_its_mean(key):
    # old = N(0, 1), new = N(μ, σ): KL(old ‖ new) = ln σ + (1 + μ²) / (2 σ²) − ½
    mean, std = 0.3, 1.2
    x = jax.random.normal(key, (400_000,))
    log_ratio = -(((x - mean) / std) ** 2) / 2 - jnp.log(std) + x**2 / 2
    kl = np.log(std) + (1 + mean**2) / (2 * std**2) - 0.5
    close(losses.approximate_kl(log_ratio), kl, rtol=0.02)


def test_clip_fraction_by_hand():
    ratio = jnp.array([1.0, 1.1, 1.3, 0.7])
    assert losses.clip_fraction(ratio, jnp.float32(0.2)) == 0.5


def test_explained_variance():
    target = jnp.array([1.0, 2.0, 3.0])
    close(losses.explained_variance(target, target), 1)
    close(losses.explained_variance(target + 7, target), 1)
    close(losses.explained_variance(jnp.zeros(3), target), 0)
    close(losses.explained_variance(-target, target), -3)
    assert jnp.isnan(losses.explained_variance(target, jnp.ones(3)))
