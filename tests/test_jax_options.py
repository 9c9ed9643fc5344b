"""Each technique trains under JAX's options for debugging, with the same types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import CountingParams
from purejaxppo.algorithm.learning.loss_terms import explained_variance
from purejaxppo.algorithm.markers import LEAST, show_missing
from purejaxppo.checks import check_environment
from purejaxppo.config.fields import flatten, replace
from tests.techniques import (
    GROUPS,
    LEAVES,
    SMALL,
    Hybrid,
    Screen,
    Walk,
    base,
    jit,
    train,
)

TINY = {"num_envs": 2, "num_steps": 2, "num_epochs": 1, "num_minibatches": 1}

MORE = {
    "returns": {
        "advantage": "n_step",
        "target": "monte_carlo",
        "transform_value": "symlog",
        "truncation": "drop",
        "network.memory": "gru",
        "network.policy": "beta",
        "network.init": "kaiming",
        "sequence_length": 4,
        "evaluation.every": 2,
        "evaluation.max_steps": 6,
        "num_starts": 2,
        "recompute_advantages": True,
        "critic_epochs": 3,
    },
    "sums": {
        "critic_warmup": 1,
        "advantage": "reward_to_go",
        "target": "one_step",
        "truncation": "none",
        "network.autoregressive": ("all",),
        "frame_stack": 2,
        "ratio": "factored",
        "shuffle": "none",
        "vf_clip_eps": 0.2,
        "vf_clip_mode": "clipped",
        "kl_stop.scope": "policy",
    },
    "episodes": {
        "advantage": "episode_return",
        "target": "n_step",
        "truncation": "current_value",
        "network.conv": "nature",
        "shuffle": "trajectories",
        "grad_scope": "group",
    },
    "one step": {
        "advantage": "one_step",
        "network.conv": "min_atar",
        "normalize_advantage": "batch",
        "vf_clip_eps": 0.2,
        "vf_clip_mode": "error",
    },
}
"""Name -> what is on of what `GROUPS` leave off."""

PACKS = {name: base(name) for name in GROUPS} | {
    name: replace(SMALL, changes) for name, changes in MORE.items()
}


class Float32(Walk):
    """`Walk` whose observations are float32 in every process."""

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return obs.astype(jnp.float32), state


class Float32Hybrid(Float32, Hybrid):
    """`Hybrid` likewise."""


class Float32Screen(Float32, Screen):
    """`Screen` likewise."""


def env_of(config):
    if config.network.conv is not None:
        return Float32Screen()
    return Float32Hybrid() if config.ratio == "factored" else Float32()


def traced(config):
    run = jax.jit(lambda key: train(config, key, env_of(config)))
    result = run.trace(jax.random.key(0)).out_info
    return jax.tree.map(lambda x: (x.shape, x.dtype), result)


def test_every_technique_is_in_a_pack():
    on = {}
    for config in PACKS.values():
        for name, value in flatten(config).items():
            on.setdefault(name.removesuffix(".kind"), set()).add(value)
    for leaf in LEAVES.values():
        if len(leaf.techniques) > 1:
            shared = {"impala"}  # Its layers are those of the other convolutions.
            assert on[leaf.name] >= set(leaf.techniques) - shared, leaf.name
        elif leaf.techniques:
            assert any(name.startswith(f"{leaf.name}.") for name in on), leaf.name
    for name in ("truncation", "shuffle", "vf_clip_mode", "network.policy"):
        assert on[name] == set(LEAVES[name].choices)


@pytest.mark.parametrize("config", PACKS.values(), ids=PACKS)
def test_types_are_the_same_with_x64_and_no_key_is_used_twice(config):
    without = traced(config)
    with jax.enable_x64(True), jax.debug_key_reuse(True):
        assert traced(config) == without


@pytest.mark.parametrize("config", PACKS.values(), ids=PACKS)
def test_every_technique_trains_without_jit_with_all_options_for_debugging(config):
    """Without jit, JAX looks for NaNs after each operation, not each program."""
    tiny = TINY | ({"sequence_length": 2} if config.sequence_length else {})
    updates = 2 if config.critic_warmup else 1
    config = replace(config, tiny | {"total_timesteps": 4 * updates})
    with (
        jax.disable_jit(),
        jax.debug_nans(True),
        jax.debug_key_reuse(True),
        jax.enable_x64(True),
    ):
        metrics = train(config, jax.random.key(0), env_of(config)).metrics
    assert metrics.finite.tolist() == [True] * updates


def test_float64_observations_are_kept():
    with jax.enable_x64(True):
        config = replace(SMALL, {"normalize_observation": True})
        state = jax.eval_shape(lambda key: train(config, key).state, jax.random.key(0))
    assert state.collector.now.obs.dtype == np.float64
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {np.dtype(np.float32)}


# --- NaN ------------------------------------------------------------------------------


class Poisoned(Walk):
    """Rewards that are no numbers."""

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(reward=jnp.nan * step.reward)


@functools.cache
def run():
    """A run of three updates: no episode ends in the first, and none is evaluated."""
    config = replace(SMALL, {"num_steps": 4, "total_timesteps": 3 * 16})
    config = replace(config, {"evaluation.every": 2, "evaluation.max_steps": 2})
    env, params = Walk(), CountingParams(6)
    return jit(ppo.make_train(config, env, params))


def test_a_run_stops_at_no_nan_that_is_meant():
    metrics = run()(jax.random.key(0)).metrics
    run.cache_clear()
    with jax.debug_nans(True):
        watched = run()(jax.random.key(0)).metrics
    run.cache_clear()
    for name in ("episode_return", "evaluation_return", "explained_variance"):
        seen, plain = np.asarray(getattr(watched, name)), getattr(metrics, name)
        np.testing.assert_array_equal(show_missing(seen), plain)
        assert not np.isnan(seen).any()
    assert (np.isnan(metrics.episode_return) == [True, False, False]).all()
    assert (np.asarray(watched.episode_return) == LEAST).sum() == 1
    assert (np.asarray(watched.evaluation_return) == LEAST).sum() == 1


def test_a_run_stops_at_a_nan_that_nobody_meant():
    config = replace(SMALL, {"total_timesteps": 32})
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="nan"):
        jit(lambda key: train(config, key, Poisoned()))(jax.random.key(0))


def test_nothing_is_explained_of_a_constant_without_a_nan_on_the_way():
    value, target = jnp.arange(3.0), jnp.ones(3)
    assert np.isnan(explained_variance(value, target))
    with jax.debug_nans(True), jax.disable_jit():
        assert explained_variance(value, target) == LEAST


def test_check_uses_no_key_twice():
    with jax.debug_key_reuse(True), jax.debug_nans(True):
        checks = check_environment(Walk(), num_envs=2, num_steps=6)
    assert [check for check in checks if not check.passed] == []
