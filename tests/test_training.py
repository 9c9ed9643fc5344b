"""Whole runs: repeatable, isolated, resumable, and small in what they return."""

import dataclasses
import operator

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace

CONFIG = ppo.Config(
    total_timesteps=5 * 64,
    num_envs=4,
    num_steps=16,
    num_epochs=2,
    num_minibatches=2,
    learning_rate=1e-3,
    network=ppo.NetworkConfig(widths=(8, 8)),
    normalize_observation=ppo.ObservationNormalization(),
    normalize_reward=ppo.RewardNormalization(),
    evaluation=ppo.EvaluationConfig(every=2, num_episodes=3, max_steps=30),
)
KEYS = jax.random.split(jax.random.key(7), 3)


def plain(tree):
    """A tree with keys as their numbers, so that NumPy can hold it."""

    def unwrap(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return jax.tree.map(unwrap, tree)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, plain(a), plain(b))


def close(a, b):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4),
        plain(a),
        plain(b),
    )


@pytest.fixture(scope="module")
def cartpole():
    return ppo.make("CartPole-v1")


@pytest.fixture(scope="module")
def parts(cartpole):
    return ppo.make_ppo(CONFIG, *cartpole)


@pytest.fixture(scope="module")
def train(cartpole):
    return jax.jit(ppo.make_train(CONFIG, *cartpole))


@pytest.fixture(scope="module")
def batch(cartpole):
    return jax.jit(jax.vmap(ppo.make_train(CONFIG, *cartpole)))(KEYS)


@pytest.fixture(scope="module")
def step(parts):
    return jax.jit(parts.step)


def test_the_same_key_gives_the_same_bits(train):
    same(train(KEYS[0]), train(KEYS[0]))


def test_other_keys_give_other_runs(batch):
    loss = np.asarray(batch.metrics.policy_loss)
    assert len(np.unique(loss[:, 0])) == 3


def test_a_run_of_a_batch_equals_it_alone(train, batch):
    for i, key in enumerate(KEYS):
        alone, one = train(key), jax.tree.map(operator.itemgetter(i), plain(batch))
        close(one.metrics, alone.metrics)
        close(one.state.params, alone.state.params)


def test_metrics_are_per_update_and_nothing_is_per_step(batch):
    assert all(x.shape == (3, 5) for x in jax.tree.leaves(batch.metrics))
    for x in jax.tree.leaves(plain(batch.state)):
        assert x.shape[0] == 3 and CONFIG.num_steps not in x.shape
    assert (batch.state.update == 5).all()


def test_steps_are_the_run(train, parts, step):
    state = jax.jit(parts.init)(KEYS[0])
    returns = []
    for _ in range(5):
        state, metrics = step(state)
        assert metrics.evaluation_return == ()
        returns.append(metrics.episode_return)
    result = train(KEYS[0])
    close(jnp.stack(returns), result.metrics.episode_return)
    close(state, result.state)


def test_a_state_that_was_saved_goes_on_with_the_same_bits(parts, step):
    state = jax.jit(parts.init)(KEYS[0])
    for _ in range(2):
        state, _ = step(state)
    key_data = np.asarray(jax.random.key_data(state.key))
    saved = jax.tree.map(np.asarray, state._replace(key=()))
    restored = jax.tree.map(jnp.asarray, saved)
    restored = restored._replace(key=jax.random.wrap_key_data(jnp.asarray(key_data)))
    for _ in range(2):
        (state, metrics), (restored, again) = step(state), step(restored)
        same(metrics, again)
    same(state, restored)


# One config that carries whatever a technique can carry.
CARRYING = ppo.Config(
    total_timesteps=5 * 16,
    num_envs=4,
    num_steps=4,
    num_epochs=2,
    num_minibatches=2,
    anneal_lr=False,
    network=ppo.NetworkConfig(widths=(4,)),
    normalize_observation=ppo.ObservationNormalization(),
    normalize_reward=t.RewardNormalization(),
    normalize_value=t.PopArt(),
    normalize_advantage=None,
    scale_advantage=t.MeanAbsolute(),
    kl_penalty=t.KLPenalty(),
    kl_stop=t.KLStop(scope="policy"),
    kl_learning_rate=t.KLLearningRate(),
    ent_schedule=t.EntropyTarget(),
)
CARRIED = ("obs_statistics", "reward_scale", "critic_scale", "advantage_scale")


def test_all_that_techniques_carry_is_saved_and_goes_on_with_the_same_bits():
    parts = ppo.make_ppo(CARRYING, probes.Counting())
    step = jax.jit(parts.step)
    state = start = jax.jit(parts.init)(KEYS[0])
    for _ in range(2):
        state, _ = step(state)
    # NumPy arrays of the leaves are all that a file holds.
    saved = [np.asarray(x) for x in jax.tree.leaves(plain(state))]
    leaves = [jnp.asarray(x) for x in saved[:-1]]
    leaves.append(jax.random.wrap_key_data(jnp.asarray(saved[-1])))
    restored = jax.tree.unflatten(jax.tree.structure(state), leaves)
    for _ in range(2):
        (state, metrics), (restored, again) = step(state), step(restored)
        same(metrics, again)
    same(state, restored)
    # Each part is there and moves, so that forgetting it would show.
    for name in (*CARRIED, "adaptive"):
        old, new = (getattr(s, name) for s in (start, state))
        moved = jax.tree.map(lambda x, y: not np.array_equal(x, y), old, new)
        paths = jax.tree_util.tree_leaves_with_path(moved)
        # What rounding drops of a mean may be nothing.
        moved = [x for path, x in paths if "remainder" not in str(path[-1])]
        assert moved and all(moved), name
    forgotten, _ = step(state._replace(critic_scale=start.critic_scale))
    kept, _ = step(state)
    assert (forgotten.params["value"]["bias"] != kept.params["value"]["bias"]).any()


def test_a_state_holds_nothing_of_a_technique_that_is_off():
    config = replace(SMALL, {"normalize_observation": None})
    parts = ppo.make_ppo(config, probes.Counting())
    state, metrics = jax.eval_shape(lambda key: parts.step(parts.init(key)), KEYS[0])
    assert [getattr(state, name) for name in CARRIED] == [()] * 4
    assert state.adaptive == ((), (), ())
    off = ("policy_kl", "stopped", "kl_coef", "ent_coef", "clip_eps")
    assert [getattr(metrics, name) for name in off] == [()] * 5
    assert {x.dtype.name for x in jax.tree.leaves(metrics)} <= {
        "float32",
        "int32",
        "bool",
    }


def test_metrics_of_techniques_that_are_on():
    parts = ppo.make_ppo(CARRYING, probes.Counting())
    state, metrics = jax.eval_shape(lambda key: parts.step(parts.init(key)), KEYS[0])
    for name in ("policy_kl", "stopped", "kl_coef", "ent_coef", "kl_k1", "ratio_max"):
        assert getattr(metrics, name).shape == (), name
    assert metrics.clip_eps == ()
    assert all(x.shape == () for x in state.adaptive)
    # A run is a scan, so a state is of one shape and type from its start on.
    start = jax.eval_shape(parts.init, KEYS[0])
    assert start == state


def test_a_returned_state_goes_on(train, step):
    result = train(KEYS[0])
    state, metrics = step(result.state)
    assert state.update == 6 and metrics.finite


def test_advance_is_step_and_an_evaluation_when_due(parts, step):
    advance = jax.jit(parts.advance)
    state = jax.jit(parts.init)(KEYS[0])
    for update, due in enumerate([False, True, False, True, True]):
        expected, _ = step(state)
        state, metrics = advance(state, jnp.int32(update))
        assert jnp.isfinite(metrics.evaluation_return) == due
        close(state.params, expected.params)


def test_evaluations_come_every_so_many_updates_and_at_the_end(batch):
    due = np.array([False, True, False, True, True])
    for values in (batch.metrics.evaluation_return, batch.metrics.evaluation_length):
        np.testing.assert_array_equal(np.isfinite(values), np.tile(due, (3, 1)))


def test_a_poisoned_run_touches_no_other(parts):
    states = jax.jit(jax.vmap(parts.init))(KEYS)
    step = jax.jit(jax.vmap(parts.step))
    poisoned = states._replace(
        params=jax.tree.map(lambda x: x.at[0].set(jnp.nan), states.params)
    )
    healthy, metrics = step(states)
    assert metrics.finite.all()
    sick, metrics = step(poisoned)
    np.testing.assert_array_equal(metrics.finite, [False, True, True])
    same(*(jax.tree.map(lambda x: x[1:], state) for state in (healthy, sick)))


def test_the_state_can_be_donated(parts):
    donating = jax.jit(parts.step, donate_argnums=0)
    state = jax.jit(parts.init)(KEYS[0])
    after, _ = donating(state)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))
    assert state.collector.running.episode_return.is_deleted()
    donating(after)


def test_no_key_is_used_twice():
    # The check takes the keys of a vmap's lanes for one key, so the environment is one
    # that draws nothing.
    parts = ppo.make_ppo(SMALL, probes.Counting())
    with jax.debug_key_reuse(True):
        state = jax.jit(parts.init)(jax.random.key(0))
        jax.jit(parts.step)(state)


SMALL = dataclasses.replace(
    CONFIG,
    num_envs=2,
    num_steps=4,
    total_timesteps=5 * 8,
    normalize_reward=None,
    evaluation=None,
)


def test_episode_metrics_by_hand():
    # Five steps an episode, 1 + ... + 5 = 15; four steps an update: the first sees no
    # end, then those of steps 5, 10, 15 and 20, in both environments. They are the
    # environment's, not the scaled ones.
    config = replace(SMALL, {"normalize_reward": "reward_normalization"})
    train = ppo.make_train(config, probes.Counting(), probes.CountingParams(5))
    metrics = jax.jit(train)(KEYS[0]).metrics
    np.testing.assert_array_equal(metrics.num_episodes, [0, 2, 2, 2, 2])
    np.testing.assert_array_equal(metrics.episode_return, [np.nan, 15, 15, 15, 15])
    np.testing.assert_array_equal(metrics.episode_length, [np.nan, 5, 5, 5, 5])


def test_environment_parameters_can_be_swept():
    def run(length):
        params = probes.CountingParams(length)
        return ppo.make_train(SMALL, probes.Counting(), params)(KEYS[0]).metrics

    metrics = jax.jit(jax.vmap(run))(jnp.array([1, 2, 5]))
    np.testing.assert_array_equal(metrics.episode_return[:, -1], [1, 3, 15])
    np.testing.assert_array_equal(metrics.num_episodes.sum(1), [40, 20, 8])


def test_raw_gymnax_objects_serve(cartpole, train):
    raw = gymnax.make("CartPole-v1")
    programs = [
        str(jax.make_jaxpr(ppo.make_ppo(SMALL, *pair).init)(KEYS[0]))
        for pair in (raw, cartpole)
    ]
    assert programs[0] == programs[1]
    result = jax.jit(ppo.make_train(CONFIG, *raw))(KEYS[0])
    close(result.metrics, train(KEYS[0]).metrics)


def test_what_is_no_environment_is_refused():
    class Half:
        def reset(self, key, params):
            """Start."""

    expected = r"^Expected env to be an Environment .* got Half, which lacks .*step"
    with pytest.raises(TypeError, match=expected):
        ppo.make_ppo(SMALL, Half())


def test_own_loss():
    def policy_only(config, network, params, batch):
        _, diagnostics = ppo.ppo_loss(config, network, params, batch)
        return diagnostics.policy_loss, diagnostics

    parts = ppo.make_ppo(SMALL, probes.Counting(), loss=policy_only)
    state = jax.jit(parts.init)(KEYS[0])
    after, _ = jax.jit(parts.step)(state)
    same(after.params["critic_torso"], state.params["critic_torso"])
    before, moved = (
        s.params["actor_torso"]["dense_0"]["kernel"] for s in (state, after)
    )
    assert (before != moved).any()
