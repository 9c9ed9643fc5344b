"""Estimators against quadratic loops and hand-run numbers; their limits; scaling."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo.algorithm.advantages.estimators import (
    discounted_returns,
    episode_returns,
    gae,
    n_step_returns,
    normalize,
    one_step_returns,
    reward_to_go,
    scale_by,
)


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


def quadratic_return(steps, gamma, n, start):
    """Rewards from `start` to the n-th step, the episode's or the rollout's end."""
    reward, _, next_value, terminated, truncated = steps
    total, discount, i = 0.0, 1.0, start
    for i in range(start, min(start + n, len(reward))):
        total += discount * reward[i]
        discount *= gamma
        if terminated[i]:
            return total
        if truncated[i]:
            break
    return total + discount * next_value[i]


def quadratic_returns(steps, gamma, n):
    return [quadratic_return(steps, gamma, n, t) for t in range(len(steps[0]))]


def quadratic_episode_returns(steps, gamma):
    done = steps[3] | steps[4]
    starts = [
        max([i + 1 for i in range(t) if done[i]], default=0) for t in range(len(done))
    ]
    return [quadratic_return(steps, gamma, len(done), start) for start in starts]


ENDS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def rollouts_that_end_anyhow():
    """Random rollouts, and one for every way to end or not: at 0, within, at last."""
    yield from (random_steps(seed, 30) for seed in range(5))
    for terminated, truncated in ENDS:
        for end in (0, 3, 6):
            reward, value, next_value, _, _ = random_steps(7, 7)
            at = np.arange(7) == end
            yield reward, value, next_value, at & bool(terminated), at & bool(truncated)


ESTIMATORS: dict[str, Any] = {
    "one step": (
        lambda r, v, d, _, gamma: one_step_returns(r, v, d, gamma),
        lambda steps, gamma: quadratic_returns(steps, gamma, 1),
    ),
    "to go": (reward_to_go, lambda steps, gamma: quadratic_returns(steps, gamma, 99)),
    "episode": (episode_returns, quadratic_episode_returns),
}
for n in (1, 2, 3, 5, 6, 7, 29, 30, 31):
    ESTIMATORS[f"{n} steps"] = (
        lambda r, v, d, c, gamma, n=n: n_step_returns(r, v, d, c, gamma, n),
        lambda steps, gamma, n=n: quadratic_returns(steps, gamma, n),
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_equal_their_quadratic_sums(name):
    estimator, oracle = ESTIMATORS[name]
    estimator = jax.jit(estimator)
    for steps in rollouts_that_end_anyhow():
        reward, _, *rest = map(jnp.asarray, steps)
        for gamma in (0.9, 1.0, 0.0):
            close(estimator(reward, *rest, jnp.float32(gamma)), oracle(steps, gamma))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_of_batches_equal_vmap(name):
    reward, _, *rest = (jnp.asarray(x) for x in random_steps(3, 10, 2, 3))
    estimator = lambda *steps: ESTIMATORS[name][0](*steps, 0.9)  # noqa: E731
    alone = jax.vmap(jax.vmap(estimator, 1, 1), 1, 1)(reward, *rest)
    np.testing.assert_allclose(estimator(reward, *rest), alone, rtol=1e-6)
    short = [reward, *rest]
    short[1] = short[1][:9]
    with pytest.raises(AssertionError):
        estimator(*short)


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_returns_by_hand():
    # γ = ½. Step 1 is truncated: 2 + ½ 10 = 7. Step 3 terminates: 4. Step 5 is the
    # last: 6 + ½ 20 = 16. To go: 1 + 7/2, 7 | 3 + 4/2, 4 | 5 + 16/2, 16.
    reward = jnp.arange(1.0, 7)
    next_value = jnp.array([30.0, 10, 40, 50, 60, 20])
    terminated = jnp.array([0, 0, 0, 1, 0, 0], bool)
    truncated = jnp.array([0, 1, 0, 0, 0, 0], bool)
    steps = reward, next_value, terminated, truncated, jnp.float32(0.5)
    to_go = [4.5, 7, 5, 4, 13, 16]
    np.testing.assert_allclose(reward_to_go(*steps), to_go)
    np.testing.assert_allclose(n_step_returns(*steps, 2), to_go)
    np.testing.assert_allclose(episode_returns(*steps), [4.5, 4.5, 5, 5, 13, 13])
    one_step = one_step_returns(reward, next_value, terminated, 0.5)
    np.testing.assert_allclose(one_step, [16, 7, 23, 4, 35, 16])
    np.testing.assert_allclose(n_step_returns(*steps, 1), one_step)


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_estimators_are_limits_of_gae(gamma):
    reward, value, next_value, terminated, truncated = random_steps(8, 30)
    # Where nothing ends, the next value is the next step's value, as in a rollout.
    going = ~(terminated | truncated)[:-1]
    next_value[:-1] = np.where(going, value[1:], next_value[:-1])
    steps = reward, value, next_value, terminated, truncated
    reward, next_value = jnp.asarray(reward), jnp.asarray(next_value)
    terminated, truncated = jnp.asarray(terminated), jnp.asarray(truncated)
    one_step = one_step_returns(reward, next_value, terminated, jnp.float32(gamma))
    to_go = reward_to_go(reward, next_value, terminated, truncated, gamma)
    close(one_step - value, estimate(steps, gamma, 0))
    close(to_go - value, estimate(steps, gamma, 1))

    def n_step(n):
        return n_step_returns(reward, next_value, terminated, truncated, gamma, n)

    close(n_step(1), one_step)
    for n in (30, 31, 10**9):
        close(n_step(n), to_go)
    assert np.abs(n_step(3) - to_go).max() > 0.1


def test_td_lambda_targets_mix_n_step_returns():
    # Without ends: Gλ₀ = (1 − λ) Σ_{n<T} λⁿ⁻¹ G₀⁽ⁿ⁾ + λᵀ⁻¹ G₀⁽ᵀ⁾
    reward, value, next_value, _, _ = random_steps(9, 6)
    next_value[:-1], no, decay = value[1:], jnp.zeros(6, bool), 0.7
    rest = jnp.asarray(reward), jnp.asarray(next_value), no, no, 0.9
    returns = [n_step_returns(*rest, n)[0] for n in range(1, 7)]
    weights = [(1 - decay) * decay**n for n in range(5)] + [decay**5]
    advantage = estimate((reward, value, next_value, no, no), 0.9, decay)
    close(advantage[0] + value[0], np.dot(weights, np.array(returns)))


def test_the_value_beyond_a_terminal_state_is_never_looked_at():
    reward, _, next_value, terminated, truncated = random_steps(10, 12)
    next_value[terminated] = np.nan
    reward, next_value, *ends = map(
        jnp.asarray, (reward, next_value, terminated, truncated)
    )
    for estimator, _ in ESTIMATORS.values():
        assert np.isfinite(estimator(reward, next_value, *ends, 0.9)).all()


@pytest.mark.parametrize("n", [0, -1])
def test_no_steps_are_refused(n):
    no = jnp.zeros(3, bool)
    with pytest.raises(ValueError, match=f"got {n}"):
        n_step_returns(jnp.ones(3), jnp.ones(3), no, no, 0.9, n)


def test_normalized_advantages():
    advantage = jax.random.normal(jax.random.key(0), (64,)) * 3 + 5
    normal = normalize(advantage)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=1e-5)
    np.testing.assert_array_equal(normalize(jnp.full(8, 2.0)), jnp.zeros(8))


def test_normalize_with_defaults_is_one_formula_to_the_bit():
    def plain(x):
        return (x - x.mean()) / (x.std() + 1e-8)

    advantage = jax.random.normal(jax.random.key(0), (64, 3)) * 3 + 5
    programs = [str(jax.make_jaxpr(f)(advantage)) for f in (normalize, plain)]
    assert programs[0] == programs[1]
    np.testing.assert_array_equal(normalize(advantage), plain(advantage))


def test_the_deviation_is_the_populations():
    # A sample's (n − 1) would give ±.707
    np.testing.assert_allclose(normalize(jnp.array([0.0, 2.0])), [-1, 1])


def test_what_the_denominator_may_be():
    advantage = jnp.array([-3.0, 3, 5, 11])  # 4 ± 5
    centred = np.array([-7.0, -1, 1, 7])
    close(normalize(advantage, 0), centred / 5)
    close(normalize(advantage, 5), centred / 10)
    close(normalize(advantage, jnp.float32(5)), centred / 10)
    close(normalize(advantage, min_std=1e-4), centred / 5)
    close(normalize(advantage, 1.0, min_std=jnp.float32(20)), centred / 20)


@pytest.mark.parametrize("number, n", [(0.1, 7), (1e6 / 3, 1000), (3, 1), (0, 4)])
def test_batches_of_one_number_are_0_without_eps(number, n):
    x = jnp.full(n, jnp.float32(number))
    # Rounded means leave (A − mean) / std at ±1 for some of them, NaN for others.
    cases: Any = ({"eps": 0.0}, {"eps": jnp.float32(0)}, {"min_std": 0})
    for kwargs in cases:
        normal = jax.jit(lambda x, kwargs=kwargs: normalize(x, **kwargs))(x)
        np.testing.assert_array_equal(normal, jnp.zeros_like(x))
        weight = jnp.ones_like(x)
        normal = normalize(x, weight=weight, **kwargs)
        np.testing.assert_array_equal(normal, jnp.zeros_like(x))


def test_deviations_too_small_to_square_are_0_without_eps():
    normal = normalize(jnp.array([0.0, 1e-30]), 0)
    np.testing.assert_array_equal(normal, jnp.zeros(2))


NORMALIZERS: list[Any] = [{}, {"eps": 0.0}, {"min_std": 1e-4}, {"min_std": 50.0}]


@pytest.mark.parametrize("kwargs", NORMALIZERS, ids=str)
def test_weighted_statistics_are_those_of_the_kept(key, kwargs):
    advantage = jax.random.normal(key, (40, 2)) * 3 + 5
    kept = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (40, 2))
    few = normalize(advantage[kept], **kwargs)
    for dropped in (0.0, 1e9, jnp.nan):
        mixed = jnp.where(kept, advantage, dropped)
        for weight in (kept, kept.astype(jnp.float32)):
            close(normalize(mixed, weight=weight, **kwargs)[kept], few)
    ones = jnp.ones((40, 2))
    close(normalize(advantage, weight=ones, **kwargs), normalize(advantage, **kwargs))
    nothing = normalize(advantage, weight=0 * ones, **kwargs)
    assert np.isfinite(nothing).all()
    with pytest.raises(AssertionError):
        normalize(advantage, weight=ones[:, :1])


@pytest.mark.parametrize("kwargs", NORMALIZERS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_are_normalized_like_the_whole(key, kwargs, weighted):
    # The halves differ in mean, deviation and number of the kept.
    advantage = jax.random.normal(key, (20, 3)) + jnp.arange(60.0).reshape(20, 3)
    weight = (advantage > 20).astype(jnp.float32) if weighted else None
    mesh = jax.make_mesh((2,), ("batch",), (jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("batch")

    def shard(advantage, weight):
        return normalize(advantage, weight=weight, axis_name="batch", **kwargs)

    sharded = jax.jit(jax.shard_map(shard, mesh=mesh, in_specs=spec, out_specs=spec))
    whole = normalize(advantage, weight=weight, **kwargs)
    close(sharded(advantage, weight), whole)
    halves = [x if x is None else x.reshape(2, 10, 3) for x in (advantage, weight)]
    mapped = jax.vmap(shard, axis_name="batch")(*halves)
    close(mapped.reshape(20, 3), whole)
    alone = jax.vmap(lambda a: normalize(a, **kwargs))(halves[0]).reshape(20, 3)
    assert np.abs(alone - whole).max() > 0.1


def test_shards_that_are_constant_alone_are_not_constant_together():
    halves = jnp.array([[1.0, 1.0], [3.0, 3.0]])
    together = jax.vmap(lambda x: normalize(x, 0, axis_name="i"), axis_name="i")(halves)
    np.testing.assert_allclose(together, [[-1, -1], [1, 1]])


def test_scale_by():
    advantage = jnp.array([-1.0, 3.0])
    np.testing.assert_allclose(scale_by(advantage, 2.0), [-0.5, 1.5])
    np.testing.assert_allclose(
        scale_by(advantage, jnp.abs(advantage).mean()), [-0.5, 1.5]
    )
    np.testing.assert_array_equal(scale_by(jnp.zeros(2), jnp.float32(0)), [0, 0])
