"""Training with a memory: what is replayed is what was lived."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import CountingParams, Cut
from purejaxppo.algorithm.components import make_parts
from purejaxppo.algorithm.learning import sequences
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.algorithm.update_step import Batch, foresee
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace
from purejaxppo.networks.memory import init_memory, unroll_critic

jit = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": False})
"""Compiles in a third of the time, for programs that run for milliseconds."""

TINY = ppo.Config(
    total_timesteps=3 * 64,
    num_envs=4,
    num_steps=16,
    num_epochs=1,
    num_minibatches=1,
    learning_rate=1e-2,
    network=ppo.NetworkConfig(widths=(8,), memory=t.LSTM(size=4)),
)


class Both(Cut):
    """`Cut` whose every second episode is cut, and the others terminate."""

    default_params = CountingParams(length=5)

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        kind = jax.random.bernoulli(key).astype(jnp.int32)
        return obs, (state, kind)

    def step(self, key, state, action, params):
        clock, kind = state
        result = super().step(key, clock, action, params)
        over = result.truncated
        return result._replace(
            state=(result.state, kind),
            terminated=over & (kind == 1),
            truncated=over & (kind == 0),
        )


def train(changes, env=None, seeds=None, **own):
    config = replace(TINY, changes)
    run = ppo.make_train(config, env or Both(), **own)
    if seeds is None:
        return jit(run)(jax.random.key(0))
    return jit(jax.vmap(run))(jax.vmap(jax.random.key)(jnp.arange(seeds)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sequence_length": 4},
        {"network.memory": "gru", "network.memory.layer_norm": True},
        {"network.shared": True, "sequence_length": 8},
        {"temperature": None, "shuffle": "none", "normalize_observation": True},
    ],
    ids=str,
)
def test_the_first_ratio_is_one_across_ends_of_episodes(changes):
    # One minibatch an update: each is its update's first, after others have moved the
    # parameters and episodes have ended inside the rollout and at its border.
    metrics = train(changes).metrics
    np.testing.assert_allclose(metrics.ratio_min, 1, atol=2e-6)
    np.testing.assert_allclose(metrics.ratio_max, 1, atol=2e-6)
    assert (metrics.num_episodes > 4).all()
    assert (metrics.grad_norm > 0).all()


def test_a_memory_reset_one_step_late_would_show(monkeypatch):
    late = lambda done: jnp.concatenate([jnp.zeros_like(done[:2]), done[:-2]])  # noqa: E731
    monkeypatch.setattr("purejaxppo.algorithm.update_step.starts", late)
    metrics = train({"learning_rate": 0.1}).metrics
    assert np.abs(np.asarray(metrics.ratio_max) - 1).max() > 1e-3


def lived(parts, config, params, key):
    """A rollout of random observations with ends of both kinds, as a `Batch`."""
    shape = (config.num_steps, config.num_envs)
    keys = iter(jax.random.split(key, 9))
    obs = jax.random.normal(next(keys), (*shape, 1))
    ended = jax.random.randint(next(keys), shape, 0, 6)
    zero = jnp.zeros(shape)
    memory = jax.tree.map(
        lambda x: jax.random.normal(next(keys), x.shape),
        init_memory(parts.network, config.num_envs),
    )
    steps = Transition(
        obs=obs,
        action=zero,
        log_prob=zero,
        reward=zero,
        next_obs=jax.random.normal(next(keys), (*shape, 1)),
        terminated=ended == 0,
        truncated=ended == 1,
    )
    flat = [x.reshape(-1, 1) for x in (steps.obs, steps.next_obs)]
    return Batch(obs=flat[0], next_obs=flat[1], steps=steps, memory=memory)


def test_what_follows_is_valued_with_the_memory_of_its_own_episode(key):
    config = TINY
    parts = make_parts(config, Both(), None, None, None)
    params = parts.network.init(key, jnp.zeros((1, 1)))
    batch = lived(parts, config, params, key)
    seen = jit(partial(foresee, parts, config))(batch, params)
    zero = init_memory(parts.network, 1).critic
    critic = parts.network.critic
    for n in range(config.num_envs):
        memory = jax.tree.map(lambda x, n=n: x[n : n + 1], batch.memory.critic)
        for i in range(config.num_steps):
            kept = jax.tree.map(lambda x, i=i, n=n: x[i, n : n + 1], seen.memories)
            for x, y in zip(kept, memory, strict=True):
                np.testing.assert_allclose(x, y, atol=1e-6)
            value, after = critic(params, batch.steps.obs[i, n][None], memory)
            following, _ = critic(params, batch.steps.next_obs[i, n][None], after)
            row = i * config.num_envs + n
            np.testing.assert_allclose(seen.value[row], value[0], atol=1e-6)
            np.testing.assert_allclose(seen.next_value[row], following[0], atol=1e-6)
            done = batch.steps.terminated[i, n] | batch.steps.truncated[i, n]
            memory = zero if done else after
        last = jax.tree.map(lambda x, n=n: x[n : n + 1], seen.memory)
        for x, y in zip(last, memory, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-6)


def test_memories_go_on_from_rollout_to_rollout():
    config = replace(
        TINY, {"learning_rate": 0.0, "num_steps": 3, "total_timesteps": 24}
    )
    algorithm = ppo.make_ppo(config, Cut(), CountingParams(length=100))
    state = algorithm.init(jax.random.key(0))
    states = [state]
    for _ in range(2):
        state, _ = jit(algorithm.step)(state)
        states.append(state)
    # `Cut` shows time / length, and nothing has ended: step by step from the start.
    memory = init_memory(algorithm.network, 4)
    actor, critic = memory
    for time in range(6):
        obs = jnp.full((4, 1), time / 100)
        _, actor = algorithm.network.actor(state.params, obs, actor)
        _, critic = algorithm.network.critic(state.params, obs, critic)
    for ours, expected in (
        (state.collector.memory, actor),
        (state.critic_memory, critic),
    ):
        for x, y in zip(ours, expected, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-6)
            assert np.abs(x).max() > 1e-3


def test_a_memory_is_the_first_one_after_an_end():
    config = replace(TINY, {"num_steps": 5, "total_timesteps": 20})
    algorithm = ppo.make_ppo(config, Cut(), CountingParams(length=5))
    state, _ = jit(algorithm.step)(jit(algorithm.init)(jax.random.key(0)))
    for x in jax.tree.leaves((state.collector.memory, state.critic_memory)):
        np.testing.assert_array_equal(x, 0)


class Sum(NamedTuple):
    """A memory of one's own: the observations' sum since the episode's start."""

    @staticmethod
    def init(key, obs):
        return {"w": jax.random.normal(key, (2,)), "v": jnp.zeros(())}

    @staticmethod
    def init_memory(batch_size):
        return jnp.zeros(batch_size), jnp.zeros(batch_size)

    @staticmethod
    def actor(params, obs, memory):
        head = ppo.make_action_head(Cut().action_space(None))
        memory = memory + obs[:, 0]
        return head.distribution(memory[:, None] * params["w"][None], None), memory

    @staticmethod
    def critic(params, obs, memory):
        memory = memory + obs[:, 0]
        return memory * params["v"], memory


@pytest.mark.parametrize("length", [None, 4])
def test_a_network_of_ones_own_remembers_too(length):
    result = train({"sequence_length": length, "network.memory": None}, network=Sum())
    np.testing.assert_allclose(result.metrics.ratio_max, 1, atol=2e-6)
    np.testing.assert_allclose(result.metrics.ratio_min, 1, atol=2e-6)
    assert result.state.params["v"] != 0


def test_gradients_end_where_sequences_begin(key):
    # d value / d first observation of an environment: within the first sequence only.
    parts = make_parts(TINY, Both(), None, None, None)
    params = parts.network.init(key, jnp.zeros((1, 1)))
    steps, envs, length = 16, 4, 4
    obs = jax.random.normal(key, (steps * envs, 1))
    never = jnp.zeros(steps * envs, bool)

    def values(obs: Any, cut: int) -> jax.Array:
        start = init_memory(parts.network, envs).critic
        _, after = unroll_critic(parts.network, params, obs, never, start)
        before = jax.tree.map(
            lambda m, x: jnp.concatenate([m[None], x[:-1]]), start, after
        )
        memory = sequences.split_memory(jax.lax.stop_gradient(before), cut)
        flat, reset = sequences.join(sequences.split((obs, never), steps, cut))
        value, _ = unroll_critic(parts.network, params, flat, reset, memory)
        return sequences.unjoin(value, cut).sum()

    chunks = jax.grad(partial(values, cut=length))(obs).reshape(steps, envs)
    whole = jax.grad(partial(values, cut=steps))(obs).reshape(steps, envs)
    assert not np.allclose(chunks, whole, atol=1e-4)
    np.testing.assert_allclose(chunks[-length:], whole[-length:], atol=1e-6)


COMBINATIONS = [
    {"trpo": True, "clip_eps": None},
    {
        **{"kl_penalty": True, "clip_eps": None},
        **{"sequence_length": 4, "normalize_reward": True},
    },
    {
        **{"recompute_advantages": True, "normalize_advantage": "batch"},
        **{"num_epochs": 2, "target": "monte_carlo", "vf_clip_eps": 0.2},
    },
    {
        **{"truncation": "drop", "normalize_value": "pop_art", "sequence_length": 8},
        **{"actor_optimizer.learning_rate": 1e-3, "grad_scope": "group"},
        "temperature": 0.5,
    },
    {
        **{"truncation": "current_value", "critic_epochs": 3, "critic_warmup": 1},
        **{"kl_stop": True, "kl_stop.scope": "policy", "advantage": "n_step"},
    },
    {
        **{"evaluation": True, "evaluation.every": 1, "shuffle": "trajectories"},
        **{"bounds_loss": None, "num_starts": 2, "ent_schedule": "linear"},
        "frame_stack": 2,
    },
]


@pytest.mark.parametrize("changes", COMBINATIONS, ids=str)
def test_techniques_go_with_a_memory(changes):
    config = replace(TINY, {"num_minibatches": 2, **changes})
    init, run = ppo.make_ppo(config, Both()).init, ppo.make_train(config, Both())
    start, result = jit(lambda key: (init(key).params, run(key)))(jax.random.key(0))
    losses = result.metrics.policy_loss, result.metrics.value_loss
    assert all(np.isfinite(x).all() for x in losses)
    assert result.metrics.finite.all()
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start, result.state.params)
    assert max(jax.tree.leaves(moved["actor_core"])) > 0
    assert max(jax.tree.leaves(moved["critic_core"])) > 0


def test_each_sequence_is_learned_from_once_an_epoch():
    from purejaxppo.algorithm.learning.epochs import sequence_rows

    config = replace(
        TINY, {"sequence_length": 4, "num_minibatches": 4, "num_epochs": 3}
    )
    rows = sequence_rows(jax.random.key(0), config, 3)
    assert rows.shape == (3, 4, 4)
    for epoch in rows:
        assert sorted(epoch.reshape(-1).tolist()) == list(range(16))
    assert not np.array_equal(rows[0], rows[1])
    still = sequence_rows(jax.random.key(0), replace(config, {"shuffle": "none"}), 3)
    np.testing.assert_array_equal(still.reshape(3, -1), np.tile(np.arange(16), (3, 1)))


def test_runs_of_a_batch_are_runs_alone():
    together, alone = train({}, seeds=2).metrics, train({}).metrics
    for name in ("episode_length", "value_loss", "entropy", "grad_norm"):
        ours, theirs = getattr(together, name)[0], getattr(alone, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_policy_is_evaluated_with_its_memory():
    config = replace(TINY, {"evaluation": True, "evaluation.every": 1})
    algorithm = ppo.make_ppo(config, Both())
    state = algorithm.init(jax.random.key(0))
    obs = jnp.full((3, 1), 0.3)
    memory = algorithm.init_memory(3)
    first, memory = algorithm.act(state, obs, memory)
    _, after = algorithm.act(state, obs, memory)
    assert first.shape == (3,)
    assert all(not np.allclose(x, y) for x, y in zip(memory, after, strict=True))
    act = partial(algorithm.act, state)
    episodes = ppo.evaluate(
        jax.random.key(0),
        act,
        Both(),
        CountingParams(),
        3,
        memory=algorithm.init_memory(3),
    )
    np.testing.assert_array_equal(episodes.episode_return, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sequence_length": 5},
            "Expected sequence_length to divide num_steps = 16, got 5.",
        ),
        (
            {"num_minibatches": 8},
            "Expected num_minibatches to divide the 4 sequences of "
            "num_envs * num_steps / sequence_length, got 8.",
        ),
        (
            {"network.memory": None, "sequence_length": 4},
            "Expected sequence_length only with network.memory, or a network that has "
            "one, got 4.",
        ),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError) as error:
        ppo.make_ppo(replace(TINY, changes), Both())
    assert str(error.value) == message


def test_a_network_of_ones_own_wants_whole_sequences_too():
    config = replace(TINY, {"network.memory": None, "num_minibatches": 8})
    with pytest.raises(ValueError, match="divide the 4 sequences of a network with a"):
        ppo.make_ppo(config, Both(), network=Sum())


def test_a_loss_of_ones_own_sees_the_sequences():
    def loss(config, network, params, batch):
        assert batch.memory is not None and batch.reset.shape == batch.log_prob.shape
        value, diagnostics = ppo.ppo_loss(config, network, params, batch)
        regular = jnp.square(ppo.value_of(network, params, batch)).mean()
        return value + 0.01 * regular, diagnostics

    assert train({"num_minibatches": 2}, loss=loss).metrics.finite.all()


def test_off_is_absent():
    def program(changes):
        config = dataclasses.replace(replace(TINY, changes), total_timesteps=64)
        return str(jax.make_jaxpr(ppo.make_train(config, Both()))(jax.random.key(0)))

    assert "logistic" in program({})
    assert "logistic" not in program({"network.memory": None})
