"""Estimators through the config: four conventions of a cut episode, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from purejaxppo.algorithm.advantages.targets import (
    Estimates,
    estimate,
    follow_advantages,
    init_advantage_scale,
    normalize,
    scale_advantage,
)
from purejaxppo.algorithm.normalization.value_maps import affine
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace

CONFIG = ppo.Config(num_envs=3, num_steps=4, gamma=0.5, gae_lambda=0.5)

# Three environments that differ in the end of their second step only. The critic shows
# the observation, so these are values: of s₂ it is 3, but the second step's own last
# observation, which the reset hides, has 5.
CUT, OVER, BOTH = range(3)
VALUE = jnp.tile(jnp.array([[1.0], [2], [3], [4]]), (1, 3))
NEXT_VALUE = jnp.tile(jnp.array([[2.0], [5], [4], [6]]), (1, 3))
REWARD = jnp.tile(jnp.array([[1.0], [0], [2], [1]]), (1, 3))
END = jnp.arange(4)[:, None] == 1
TERMINATED = END & jnp.array([[False, True, True]])
TRUNCATED = END & jnp.array([[True, False, True]])

TRUNCATIONS = ("final_obs", "current_value", "drop", "none")
RULES = {
    "gae": (None, None),
    "one_step": (t.OneStep(), t.OneStep()),
    "n_step": (t.NStep(2), t.NStep(2)),
    "reward_to_go": (t.RewardToGo(), t.MonteCarlo()),
    "batch_mean": (t.RewardToGo("batch_mean"), None),
    "no_baseline": (t.RewardToGo(None), None),
    "episode": (t.EpisodeReturn(), None),
    "episode_mean": (t.EpisodeReturn("batch_mean"), None),
}


def steps_of(reward):
    return Transition((), (), 0 * reward, reward, (), TERMINATED, TRUNCATED)


@pytest.fixture(scope="module")
def found():
    """Estimates `[T, N]` by truncation and rule; and with other rewards where cut."""

    @jax.jit
    def estimates(reward):
        steps = steps_of(reward)
        results = {}
        for truncation in TRUNCATIONS:
            for name, (advantage, target) in RULES.items():
                config = replace(
                    CONFIG,
                    {"truncation": truncation, "advantage": advantage}
                    | {"target": target},
                )
                result = estimate(
                    config,
                    (VALUE.reshape(-1), NEXT_VALUE.reshape(-1)),
                    None,
                    steps,
                )
                results[truncation, name] = result
        return jax.tree.map(lambda x: x.reshape(4, 3), results)

    return estimates(REWARD), estimates(REWARD + 1e3 * (TRUNCATED & ~TERMINATED))


def check(found, truncation, name, env, advantage=None, target=None):
    result = found[0][truncation, name]
    np.testing.assert_array_equal(result.value, VALUE)
    for got, expected in ((result.advantage, advantage), (result.target, target)):
        if expected is not None:
            np.testing.assert_allclose(got[:, env], expected, rtol=1e-6, atol=1e-6)


# Last two steps: δ₃ = 1 + ½ 6 − 4 = 0 and δ₂ = 2 + ½ 4 − 3 = 1, so A₂ = 1 + ¼ 0.
# δ₁ = ½ V − 2 with V = 5, V(s₁) = 2 or nothing; A₀ = 1 + ½ 2 − 1 + ¼ A₁.
@pytest.mark.parametrize(
    "truncation, second",
    [("final_obs", 0.5), ("current_value", -1.0), ("drop", 0.0), ("none", -2.0)],
)
def test_gae_of_a_cut_episode(found, truncation, second):
    expected = np.array([1 + second / 4, second, 1, 0])
    check(found, truncation, "gae", CUT, expected, expected + np.arange(1, 5))


# What follows the second step: ½ 5, ½ V(s₁) = 1 or 0; dropped, its return is V(s₁).
@pytest.mark.parametrize(
    "truncation, second",
    [("final_obs", 2.5), ("current_value", 1.0), ("drop", 2.0), ("none", 0.0)],
)
def test_returns_of_a_cut_episode(found, truncation, second):
    value = np.array([1.0, 2, 3, 4])
    one = np.array([2.0, second, 4, 4])
    check(found, truncation, "one_step", CUT, one - value, one)
    # Two steps from s₂: 2 + ½ 1 + ¼ 6 = 4; from s₀ one reward more than from s₁.
    to_go = np.array([1 + second / 2, second, 4, 4])
    for name in ("n_step", "reward_to_go"):
        check(found, truncation, name, CUT, to_go - value, to_go)
    check(found, truncation, "no_baseline", CUT, to_go)
    episode = to_go[[0, 0, 2, 2]]
    check(found, truncation, "episode", CUT, episode - value)
    # The critic's target is GAE's where none is set, whatever the advantage is.
    gae = found[0][truncation, "gae"].target[:, CUT]
    for name in ("no_baseline", "batch_mean", "episode", "episode_mean"):
        check(found, truncation, name, CUT, target=gae)


@pytest.mark.parametrize("env", [OVER, BOTH], ids=["terminated", "both"])
@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_a_terminated_episode_is_over_in_every_convention(found, truncation, env):
    value = np.array([1.0, 2, 3, 4])
    gae = np.array([0.5, -2, 1, 0])
    check(found, truncation, "gae", env, gae, gae + value)
    check(found, truncation, "one_step", env, [1, -2, 1, 0], [2, 0, 4, 4])
    for name in ("n_step", "reward_to_go"):
        check(found, truncation, name, env, [0, -2, 1, 0], [1, 0, 4, 4])
    check(found, truncation, "episode", env, [0, -1, 1, 0], gae + value)
    weight = found[0][truncation, "gae"].weight
    assert weight is None or (weight[:, env] == 1).all()


def test_the_baseline_is_the_mean_of_what_counts(found):
    for name, of in (("batch_mean", [0, 1, 2, 3]), ("episode_mean", [0, 0, 2, 2])):
        for truncation, second in (("final_obs", 2.5), ("drop", 2.0)):
            to_go = np.array([[1 + second / 2, 1, 1], [second, 0, 0], [4] * 3, [4] * 3])
            total = to_go[of]
            counts = np.ones((4, 3), bool)
            counts[1, CUT] = truncation != "drop"
            expected = total - total[counts].mean()
            np.testing.assert_allclose(
                found[0][truncation, name].advantage, expected, rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("name", RULES)
def test_a_dropped_step_has_no_weight_and_no_influence(found, name):
    plain, perturbed = (results["drop", name] for results in found)
    jax.tree.map(np.testing.assert_array_equal, plain, perturbed)
    expected = np.ones((4, 3))
    expected[1, CUT] = 0
    np.testing.assert_array_equal(plain.weight, expected)
    for truncation in ("final_obs", "current_value", "none"):
        plain, perturbed = (results[truncation, name] for results in found)
        assert plain.weight is None
        assert (plain.advantage != perturbed.advantage).any()


def test_values_are_decoded():
    # Outputs y stand for 100 y + 7; rewards and estimates are in real units.
    steps = steps_of(REWARD)
    for truncation in TRUNCATIONS:
        config = replace(CONFIG, {"truncation": truncation})
        real, encoded = (
            estimate(
                config,
                (
                    (VALUE.reshape(-1) - shift) / scale,
                    (NEXT_VALUE.reshape(-1) - shift) / scale,
                ),
                values,
                steps,
            )
            for values, shift, scale in ((None, 0, 1), (affine(7.0, 100.0), 7, 100))
        )
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
            real,
            encoded,
        )


# --- Scale of advantages ------------------------------------------------------------


def estimates_of(advantage, weight=None):
    advantage = jnp.asarray(advantage, jnp.float32)
    return Estimates(advantage, advantage, advantage, weight)


def test_advantages_over_a_constant():
    config = replace(
        CONFIG, {"normalize_advantage": None, "scale_advantage": t.ConstantScale(4.0)}
    )
    assert init_advantage_scale(config) == ()
    assert follow_advantages(config, (), estimates_of([1, 2])) == ()
    scaled = scale_advantage(config, (), jnp.array([2.0, -8, 0]))
    np.testing.assert_allclose(scaled, [0.5, -2, 0])


def test_advantages_over_the_moving_mean_of_their_size():
    # Acme: an average that began at 0, over the weight of what it has seen.
    config = replace(
        CONFIG, {"normalize_advantage": None, "scale_advantage": t.MeanAbsolute(0.9)}
    )
    rng, sizes = np.random.default_rng(0), []
    state = init_advantage_scale(config)
    for update in range(5):
        advantage = rng.normal(3, 10 * (update + 1), 20)
        sizes.append(np.abs(advantage).mean())
        state = follow_advantages(config, state, estimates_of(advantage))
        shares = 0.9 ** np.arange(update, -1, -1)
        scale = (shares * sizes).sum() / shares.sum()
        scaled = scale_advantage(config, state, jnp.float32(advantage))
        np.testing.assert_allclose(scaled, advantage / scale, rtol=1e-4)


def test_dropped_advantages_do_not_scale():
    config = replace(
        CONFIG, {"normalize_advantage": None, "scale_advantage": "mean_absolute"}
    )
    found = estimates_of([3, -5, np.inf], jnp.array([1.0, 1, 0]))
    state = follow_advantages(config, init_advantage_scale(config), found)
    np.testing.assert_allclose(state.mean / state.weight, 4, rtol=1e-5)


def test_advantages_stay_without_a_scale():
    assert init_advantage_scale(CONFIG) == ()
    advantage = jnp.array([1.0, -2])
    assert scale_advantage(CONFIG, (), advantage) is advantage


def test_standardisation_takes_the_numbers_of_the_config():
    # Mean 1 and deviation 2, of the first two; the third does not count.
    advantage, weight = jnp.array([3.0, -1, 1e6]), jnp.array([1.0, 1, 0])
    plain = normalize(replace(CONFIG, {"advantage_eps": 2.0}), advantage, weight)
    np.testing.assert_allclose(plain[:2], [0.5, -0.5], rtol=1e-6)
    floor = replace(CONFIG, {"advantage_eps": 2.0, "advantage_min_std": 8.0})
    np.testing.assert_allclose(
        normalize(floor, advantage, weight)[:2], [0.25, -0.25], rtol=1e-6
    )
    low = replace(CONFIG, {"advantage_min_std": 1.0})
    np.testing.assert_allclose(normalize(low, advantage[:2], None), [1, -1], rtol=1e-6)
