"""Units of the critic: statistics against NumPy, and known values in each unit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.algorithm.components import make_parts
from purejaxppo.algorithm.learning.schedules import Adaptive, init_adaptive
from purejaxppo.algorithm.normalization.values import (
    follow_targets,
    init_critic_scale,
    mean_and_std,
    value_map,
)
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.algorithm.update_step import Batch, Learned, learn
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace

CONFIG = ppo.Config()
NORMALIZERS = {
    "running_std": t.RunningStd(eps=0.5),
    "running_mean_std": t.RunningMeanStd(clip=1.5, eps=0.5),
    "moving_mean_std": t.MovingMeanStd(decay=0.9),
    "pop_art": t.PopArt(decay=0.8, max_std=25.0),
}


def with_normalizer(normalizer):
    return replace(CONFIG, {"normalize_value": normalizer})


def expected_mean_and_std(name, batches):
    """From all that was seen, in NumPy."""
    if name.startswith("running"):
        seen = np.concatenate(batches)
        mean = 0 if name == "running_std" else seen.mean()
        return mean, np.sqrt(seen.var() + 0.5)
    decay = NORMALIZERS[name].decay
    shares = decay ** np.arange(len(batches) - 1, -1, -1)
    shares /= shares.sum()
    first = sum(s * b.mean() for s, b in zip(shares, batches, strict=True))
    second = sum(s * (b**2).mean() for s, b in zip(shares, batches, strict=True))
    std = np.sqrt(second - first**2)
    return first, min(std, 25.0) if name == "pop_art" else std


@pytest.mark.parametrize("name", NORMALIZERS)
def test_statistics_follow_the_targets_as_in_numpy(name):
    config, rng, batches = (
        with_normalizer(NORMALIZERS[name]),
        np.random.default_rng(0),
        [],
    )
    state = init_critic_scale(config)
    follow = jax.jit(lambda state, x: follow_targets(config, state, x, None))
    for update in range(5):
        batches.append(rng.normal(20 * update - 10, 5 + update, 16))
        state = follow(state, jnp.float32(batches[-1]))
        expected = expected_mean_and_std(name, batches)
        np.testing.assert_allclose(mean_and_std(config, state), expected, rtol=1e-4)
    # The last deviation is beyond PopArt's bound.
    assert name != "pop_art" or mean_and_std(config, state)[1] == 25


@pytest.mark.parametrize("name", NORMALIZERS)
def test_before_anything_was_seen_nothing_is_scaled(name):
    config = with_normalizer(NORMALIZERS[name])
    mean, std = mean_and_std(config, init_critic_scale(config))
    assert mean == 0
    eps = getattr(NORMALIZERS[name], "eps", 0)
    np.testing.assert_allclose(std, np.sqrt(1 + eps), rtol=1e-6)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_dropped_targets_are_not_seen(name):
    config = with_normalizer(NORMALIZERS[name])
    start, target = init_critic_scale(config), jnp.array([3.0, 5, 1e6, 10, -1e6])
    weight = jnp.array([1.0, 1, 0, 1, 0])
    dropped = follow_targets(config, start, target, weight)
    kept = follow_targets(config, start, jnp.array([3.0, 5, 10]), None)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), dropped, kept
    )


@pytest.mark.parametrize("name", NORMALIZERS)
def test_a_batch_without_targets_leaves_mean_and_deviation(name):
    config = with_normalizer(NORMALIZERS[name])
    state = follow_targets(config, init_critic_scale(config), jnp.arange(4.0), None)
    after = follow_targets(config, state, jnp.full(4, jnp.nan), jnp.zeros(4))
    before, then = mean_and_std(config, state), mean_and_std(config, after)
    np.testing.assert_array_equal(before, then)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_targets_far_from_0_keep_their_deviation(name):
    normalizer = NORMALIZERS[name]
    if hasattr(normalizer, "eps"):
        normalizer = dataclasses.replace(normalizer, eps=1e-8)
    config, rng = with_normalizer(normalizer), np.random.default_rng(0)
    state = init_critic_scale(config)
    for _ in range(5):
        target = jnp.float32(1e6 + rng.normal(size=512))
        state = follow_targets(config, state, target, None)
    np.testing.assert_allclose(mean_and_std(config, state)[1], 1, rtol=0.1)


@pytest.mark.parametrize("name", ["moving_mean_std", "pop_art"])
def test_constant_targets_are_scaled_by_the_floor(name):
    config = with_normalizer(
        t.PopArt(min_std=0.25, decay=0.5)
        if name == "pop_art"
        else t.MovingMeanStd(min_std=0.25, decay=0.5)
    )
    state = init_critic_scale(config)
    for _ in range(3):
        state = follow_targets(config, state, jnp.full(4, 3.0), None)
    np.testing.assert_allclose(mean_and_std(config, state), [3, 0.25], rtol=1e-5)


def test_units_are_inverses_and_off_is_none():
    assert value_map(CONFIG, ()) is None and init_critic_scale(CONFIG) == ()
    assert follow_targets(CONFIG, (), jnp.ones(3), None) == ()
    x = jnp.array([-300.0, -1, 0, 0.01, 20])
    changes = [{"normalize_value": n} for n in NORMALIZERS.values()]
    changes += [{"transform_value": n} for n in ("symlog", "signed_hyperbolic")]
    for change in changes:
        config = replace(CONFIG, change)
        state = init_critic_scale(config)
        state = follow_targets(config, state, jnp.array([-500.0, 700]), None)
        values = value_map(config, state)
        assert values is not None
        encoded = values.encode(x)
        np.testing.assert_allclose(values.decode(encoded), x, rtol=1e-3, atol=1e-3)
        assert (jnp.abs(encoded[jnp.array([0, 4])]) < 50).all()


def test_targets_are_clipped_and_values_are_not():
    config = with_normalizer(t.RunningMeanStd(clip=2.0, eps=1e-8))
    state = follow_targets(
        config, init_critic_scale(config), jnp.array([90.0, 110] * 50), None
    )
    values = value_map(config, state)
    assert values is not None
    np.testing.assert_allclose(
        values.encode(jnp.array([100.0, 115, 500, -500])), [0, 1.5, 2, -2], atol=1e-3
    )
    np.testing.assert_allclose(values.decode(jnp.array([5.0])), [150], rtol=1e-4)


# --- Known values -------------------------------------------------------------------

HEAD = ppo.make_action_head(probes.Discounting().action_space(None))


def look_up(params, obs, memory):
    return params["value"][obs[:, 0].astype(jnp.int32)], memory


def rescale(params, scale, shift):
    return {**params, "value": scale * params["value"] + shift}


TABLE = ppo.ActorCritic(
    init=lambda key, obs: {"value": jnp.zeros(2), "logits": jnp.zeros(2)},
    actor=lambda params, obs, memory: (
        HEAD.distribution(jnp.tile(params["logits"][None], (obs.shape[0], 1)), None),
        memory,
    ),
    critic=look_up,
    rescale=rescale,
)
"""A value of its own for each observation, and a policy that sees none."""

UNITS = {
    "plain": {},
    "running_std": {"normalize_value": "running_std"},
    "running_mean_std": {"normalize_value": "running_mean_std"},
    "moving_mean_std": {"normalize_value": {"kind": "moving_mean_std", "decay": 0.9}},
    "pop_art": {"normalize_value": {"kind": "pop_art", "decay": 0.9}},
    "signed_hyperbolic": {"transform_value": "signed_hyperbolic"},
    "symlog": {"transform_value": "symlog"},
}


def learned_values(reward_scale, **changes):
    """V(0) and V(1) of the probe Discounting with its reward times `reward_scale`."""
    config = replace(
        ppo.Config(
            total_timesteps=400 * 4,
            num_envs=2,
            num_steps=2,
            num_minibatches=1,
            learning_rate=0.1,
            gamma=0.5,
            max_grad_norm=None,
            network=ppo.NetworkConfig(widths=()),
        ),
        changes,
    )
    parts = make_parts(config, probes.Discounting(), None, TABLE, None)
    obs = jnp.array([[0.0], [0], [1], [1]])
    last = jnp.array([[False], [True]]) & jnp.ones((1, 2), bool)
    steps = Transition(
        obs=(),
        action=jnp.zeros((2, 2), jnp.int32),
        log_prob=jnp.full((2, 2), -jnp.log(2.0)),
        reward=reward_scale * last.astype(jnp.float32),
        next_obs=(),
        terminated=last,
        truncated=jnp.zeros((2, 2), bool),
    )
    batch = Batch(obs=obs, next_obs=jnp.ones((4, 1)), steps=steps)
    params = TABLE.init(jax.random.key(0), obs)
    start = Learned(
        params=params,
        opt_state=parts.optimizer.init(params),
        critic_scale=init_critic_scale(config),
        advantage_scale=(),
        adaptive=init_adaptive(config),
    )

    def go_on(learned, number):
        key = jax.random.key(0)
        learned, _, _ = learn(key, parts, config, number, learned, batch)
        return learned, ()

    learned, _ = jax.lax.scan(go_on, start, jnp.arange(400))
    values = value_map(config, learned.critic_scale)
    outputs = learned.params["value"]
    return outputs if values is None else values.decode(outputs)


@pytest.fixture(scope="module")
def known_values():
    def run(reward_scale):
        return {name: learned_values(reward_scale, **c) for name, c in UNITS.items()}

    return jax.jit(jax.vmap(run))(jnp.array([1.0, 1000.0]))


@pytest.mark.parametrize("name", UNITS)
def test_a_critic_learns_known_values_in_any_unit(known_values, name):
    small, large = known_values[name]
    np.testing.assert_allclose(small, [0.5, 1], rtol=0.05)
    # In 400 updates of .1 a step a critic in the reward's own unit does not get far.
    learns = name != "plain"
    assert np.allclose(large, [500, 1000], rtol=0.05) == learns


def test_the_table_has_no_numbers_that_follow():
    assert init_adaptive(CONFIG) == Adaptive()
