"""GAE against a quadratic loop and hand-run numbers; its limits; discounted returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo.advantages import discounted_returns, gae, normalize


@pytest.fixture(autouse=True)
def strict_types():
    with jax.numpy_dtype_promotion("strict"):
        yield


def quadratic_gae(reward, value, next_value, terminated, truncated, gamma, lambda_):
    """Each advantage as its own sum of discounted TD errors to its episode's end."""
    T = len(reward)
    advantage = np.zeros(T)
    for t in range(T):
        weight = 1.0
        for i in range(t, T):
            bootstrap = 0.0 if terminated[i] else gamma * next_value[i]
            advantage[t] += weight * (reward[i] + bootstrap - value[i])
            if terminated[i] or truncated[i]:
                break
            weight *= gamma * lambda_
    return advantage


def random_steps(seed, *shape):
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, *shape)).astype(np.float32)
    terminated, truncated = rng.random((2, *shape)) < 0.2
    terminated[1], truncated[1] = True, True
    return reward, value, next_value, terminated, truncated


def estimate(steps, gamma, lambda_):
    reward, value, next_value, terminated, truncated = map(jnp.asarray, steps)
    return gae(
        reward,
        value,
        next_value,
        terminated,
        truncated,
        jnp.float32(gamma),
        jnp.float32(lambda_),
    )


@pytest.mark.parametrize("gamma, lambda_", [(0.99, 0.95), (0.9, 0.5), (1, 1), (0, 0)])
def test_random_steps_equal_the_quadratic_sum(gamma, lambda_):
    for seed in range(5):
        steps = random_steps(seed, 40)
        expected = quadratic_gae(*steps, gamma, lambda_)
        np.testing.assert_allclose(
            estimate(steps, gamma, lambda_), expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("terminated, truncated", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_way_to_end_or_not(terminated, truncated):
    reward, value, next_value, _, _ = random_steps(0, 7)
    at_3 = np.arange(7) == 3
    steps = reward, value, next_value, at_3 & bool(terminated), at_3 & bool(truncated)
    np.testing.assert_allclose(
        estimate(steps, 0.9, 0.8), quadratic_gae(*steps, 0.9, 0.8), rtol=1e-5, atol=1e-6
    )


# γ = .99, λ = .95, γλ = .9405. δ = r + γ V' − V with nothing ended:
# [.896, −.103, 2.591, .899, −.407]; A₄ = −.407, A₃ = .899 + .9405 A₄ = .516216, ...
# Terminated at 2: δ₂ = 2 − .3 = 1.7 and A₂ = δ₂. Truncated at 2: A₂ = δ₂ = 2.591.
GOLDEN = {
    "goes on": ([], [], [3.520418, 2.79045, 3.076502, 0.516216, -0.407]),
    "terminated": ([2], [], [2.302847, 1.49585, 1.7, 0.516216, -0.407]),
    "truncated": ([], [2], [3.090972, 2.333836, 2.591, 0.516216, -0.407]),
    "both": ([2], [2], [2.302847, 1.49585, 1.7, 0.516216, -0.407]),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_hand_run_numbers(case):
    terminated, truncated, expected = GOLDEN[case]
    steps = (
        jnp.array([1.0, 0, 2, 1, -1]),
        jnp.array([0.5, 0.4, 0.3, 0.2, 0.1]),
        jnp.array([0.4, 0.3, 0.9, 0.1, 0.7]),
        jnp.isin(jnp.arange(5), jnp.array(terminated, jnp.int32)),
        jnp.isin(jnp.arange(5), jnp.array(truncated, jnp.int32)),
    )
    np.testing.assert_allclose(estimate(steps, 0.99, 0.95), expected, atol=2e-6)


def test_lambda_0_is_the_td_error():
    reward, value, next_value, terminated, truncated = random_steps(1, 20)
    delta = reward + 0.9 * np.where(terminated, 0, next_value) - value
    steps = reward, value, next_value, terminated, truncated
    np.testing.assert_allclose(estimate(steps, 0.9, 0), delta, rtol=1e-5, atol=1e-6)


def test_lambda_1_is_return_minus_value():
    reward, value, _, _, _ = random_steps(2, 20)
    last = 0.7
    next_value = np.append(value[1:], np.float32(last))
    no = np.zeros(20, bool)
    returns, total = np.zeros(20), last
    for t in reversed(range(20)):
        returns[t] = total = reward[t] + 0.9 * total
    advantage = estimate((reward, value, next_value, no, no), 0.9, 1)
    np.testing.assert_allclose(advantage, returns - value, rtol=1e-4, atol=1e-5)


def test_batch_equals_vmap():
    steps = [jnp.asarray(x) for x in random_steps(3, 10, 6)]
    alone = jax.vmap(lambda *steps: estimate(steps, 0.9, 0.8), 1, 1)(*steps)
    np.testing.assert_allclose(estimate(steps, 0.9, 0.8), alone, rtol=1e-6)


def test_gradients_in_gamma_and_lambda_exist():
    steps = random_steps(4, 10)
    grads = jax.grad(lambda g, l: estimate(steps, g, l).sum(), (0, 1))(0.9, 0.8)
    assert all(np.isfinite(g) and g != 0 for g in grads)


def test_unequal_shapes_are_refused():
    steps = list(random_steps(5, 10))
    steps[1] = steps[1][:9]
    with pytest.raises(AssertionError):
        estimate(steps, 0.9, 0.8)


def test_discounted_returns_of_past_rewards_by_hand():
    # γ = ½. R = 1, ½ + 1 = 1.5 (ends), then afresh 1, 1.5; carried is γ · 1.5 = .75.
    # The second environment carries 2 in: R = 3, 2.5, 2.25 (ends), 1; carried is ½.
    reward = jnp.ones((4, 2))
    done = jnp.array([[0, 0], [1, 0], [0, 1], [0, 0]], bool)
    total, carried = discounted_returns(
        reward, done, jnp.array([0.0, 2.0]), jnp.float32(0.5)
    )
    np.testing.assert_allclose(total.T, [[1, 1.5, 1, 1.5], [3, 2.5, 2.25, 1]])
    np.testing.assert_allclose(carried, [0.75, 0.5])


def test_rollouts_carry_discounted_returns_over():
    reward, _, _, done, _ = (jnp.asarray(x) for x in random_steps(6, 12, 3))
    gamma = jnp.float32(0.9)
    whole, end = discounted_returns(reward, done, jnp.zeros(3), gamma)
    first, carried = discounted_returns(reward[:5], done[:5], jnp.zeros(3), gamma)
    second, carried = discounted_returns(reward[5:], done[5:], carried, gamma)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, rtol=1e-6)
    np.testing.assert_allclose(carried, end, rtol=1e-6)


def test_normalized_advantages():
    advantage = jax.random.normal(jax.random.key(0), (64,)) * 3 + 5
    normal = normalize(advantage)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=1e-5)
    np.testing.assert_array_equal(normalize(jnp.full(8, 2.0)), jnp.zeros(8))
