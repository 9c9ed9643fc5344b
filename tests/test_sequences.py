"""Sequences laid out and replayed, against loops in Python."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from purejaxppo.algorithm.learning import sequences
from purejaxppo.config import techniques as t
from purejaxppo.networks.memory import (
    has_memory,
    init_memory,
    unroll_actor,
    unroll_critic,
)
from purejaxppo.networks.recurrent import forget, init_core, unroll

T, N, L = 6, 4, 3
SPACE = gymnasium.spaces.Box(-1, 1, (3,), np.float32)


def counting_step(x, memory):
    """Counts the steps since a reset, and adds them to the input."""
    return x + memory[:, 0], memory + 1


def test_split_cuts_each_environment_into_sequences_in_order():
    flat = jnp.arange(T * N)  # Step t of environment n is number t N + n.
    cut = sequences.split(flat, T, L)
    assert cut.shape == (T // L * N, L)
    expected = [
        [(k * L + i) * N + n for i in range(L)] for k in (0, 1) for n in (0, 1, 2, 3)
    ]
    np.testing.assert_array_equal(cut, expected)
    whole = sequences.split(flat, T, T)
    np.testing.assert_array_equal(whole, flat.reshape(T, N).T)


def test_split_memory_takes_those_before_each_sequence():
    memories = jnp.arange(T * N * 2).reshape(T, N, 2)
    expected = np.concatenate([memories[0], memories[L]])
    np.testing.assert_array_equal(sequences.split_memory(memories, L), expected)


def test_join_and_unjoin_are_inverse_and_time_comes_first():
    cut = jnp.arange(24).reshape(8, 3)
    flat = sequences.join(cut)
    np.testing.assert_array_equal(flat[:8], cut[:, 0])
    np.testing.assert_array_equal(sequences.unjoin(flat, 3), cut)


def test_an_episode_starts_after_the_end_of_the_last():
    done = jnp.array([[0, 1], [1, 0], [0, 0], [1, 1]], bool)
    expected = [[0, 0], [0, 1], [1, 0], [0, 0]]
    np.testing.assert_array_equal(sequences.starts(done), np.array(expected, bool))


def test_forget_where_done():
    memory = (jnp.ones((3, 2)), jnp.ones((3, 2, 2)))
    initial = (jnp.zeros((3, 2)), jnp.full((3, 2, 2), 7.0))
    after = forget(memory, initial, jnp.array([True, False, True]))
    np.testing.assert_array_equal(after[0], [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(after[1][:, 0, 0], [7, 1, 7])


def test_unroll_resets_before_the_step_and_returns_memories_after_it():
    reset = jnp.array([[0, 0], [1, 0], [0, 0], [0, 1]], bool)
    x = jnp.zeros((4, 2))
    memory = jnp.array([[5.0], [0.0]])
    outputs, memories = unroll(
        counting_step, x.reshape(-1), reset.reshape(-1), memory, jnp.zeros((2, 1))
    )
    expected = [[5, 0], [0, 1], [1, 2], [2, 0]]
    np.testing.assert_array_equal(outputs.reshape(4, 2), expected)
    np.testing.assert_array_equal(memories[..., 0], np.array(expected) + 1)


def make(memory, **options):
    head = ppo.make_action_head(gymnasium.spaces.Discrete(3))
    return ppo.make_actor_critic(SPACE, head, memory=memory, widths=(8,), **options)


def start_of(network):
    return init_memory(network, N).actor


MEMORIES = [t.LSTM(size=5), t.GRU(size=5), t.GRU(size=5, layer_norm=True)]


def a_replay(key, network):
    obs_key, reset_key, memory_key = jax.random.split(key, 3)
    obs = jax.random.normal(obs_key, (T * N, 3))
    reset = jax.random.bernoulli(reset_key, 0.3, (T * N,))
    memory = jax.tree.map(
        lambda x: jax.random.normal(memory_key, x.shape), start_of(network)
    )
    return obs, reset, memory


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_replay_is_acting_step_by_step(memory, shared, key):
    network = make(memory, shared=shared)
    obs, reset, start = a_replay(key, network)
    params = network.init(key, obs[:N])
    policy, actor_after = unroll_actor(network, params, obs, reset, start)
    value, critic_after = unroll_critic(network, params, obs, reset, start)
    zero = start_of(network)
    actor_memory = critic_memory = start
    for i in range(T):
        now, ends = obs[i * N : (i + 1) * N], reset[i * N : (i + 1) * N]
        actor_memory = forget(actor_memory, zero, ends)
        critic_memory = forget(critic_memory, zero, ends)
        one, actor_memory = network.actor(params, now, actor_memory)
        judged, critic_memory = network.critic(params, now, critic_memory)
        rows = slice(i * N, (i + 1) * N)
        np.testing.assert_allclose(policy.logits[rows], one.logits, atol=1e-6)
        np.testing.assert_allclose(value[rows], judged, atol=1e-6)
        for all_steps, last in (
            (actor_after, actor_memory),
            (critic_after, critic_memory),
        ):
            for x, y in zip(
                jax.tree.leaves(all_steps), jax.tree.leaves(last), strict=True
            ):
                np.testing.assert_allclose(x[i], y, atol=1e-6)


def test_a_network_without_unroll_is_replayed_step_by_step(key):
    network = make(t.LSTM(size=5))

    plain_network = ppo.ActorCritic(
        network.init, network.actor, network.critic, init_memory=network.init_memory
    )
    obs, reset, memory = a_replay(key, network)
    params = network.init(key, obs[:N])
    for function in (unroll_actor, unroll_critic):
        ours, after = function(network, params, obs, reset, memory)
        plain, plain_after = function(plain_network, params, obs, reset, memory)
        for x, y in zip(
            jax.tree.leaves((ours, after)),
            jax.tree.leaves((plain, plain_after)),
            strict=True,
        ):
            np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize(
    ("memory", "shapes"), [("lstm", [(2, 5)] * 2), ("gru", [(2, 5)])]
)
def test_memories_begin_at_zero(memory, shapes):
    leaves = jax.tree.leaves(init_core(memory, 5, 2))
    assert [x.shape for x in leaves] == shapes
    assert all((x == 0).all() for x in leaves)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_cells_have_orthogonal_kernels_of_gain_1_and_no_bias(memory, key):
    network = make(memory)
    params = network.init(key, jnp.zeros((1, 3)))
    for core in ("actor_core", "critic_core"):
        for layer in params[core]["cell"].values():
            kernel = layer["kernel"]  # [8 or 5, 5]
            np.testing.assert_allclose(kernel.T @ kernel, np.eye(5), atol=1e-5)
            assert not np.any(layer.get("bias", 0))
    one, other = (
        params[name]["cell"]["hn" if isinstance(memory, t.GRU) else "hi"]["kernel"]
        for name in ("actor_core", "critic_core")
    )
    assert not np.allclose(one, other)


def test_whose_the_cores_are(key):
    own, shared = make(t.GRU()), make(t.GRU(), shared=True)
    for network, expected in (
        (own, {"actor_core": "actor", "critic_core": "critic"}),
        (shared, {"core": "shared"}),
    ):
        params = network.init(key, jnp.zeros((1, 3)))
        assert network.groups is not None
        groups = network.groups(params)
        for name, group in expected.items():
            assert set(jax.tree.leaves(groups[name])) == {group}
        assert len([name for name in params if "core" in name]) == len(expected)


def test_a_feed_forward_network_has_no_memory():
    head = ppo.make_action_head(gymnasium.spaces.Discrete(3))
    network = ppo.make_actor_critic(SPACE, head)
    assert not has_memory(network)
    assert init_memory(network, 3) == ((), ())
    assert has_memory(make(t.LSTM()))
