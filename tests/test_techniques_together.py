"""Techniques combine."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import purejaxppo as ppo
from envs.probes import Counting, CountingParams
from purejaxppo.config.fields import flatten, replace
from tests.techniques import (
    LEAVES,
    SMALL,
    STATIC,
    Hybrid,
    Walk,
    base,
    changes,
    jit,
    train,
    values,
)

SIZES = {"total_timesteps", "num_envs", "num_steps", "network.widths"}
CHANGES = {
    (name, kind): [(name, kind, value) for value in values(LEAVES[name])]
    for name, kind in STATIC
    if name not in SIZES
}


@st.composite
def combinations(draw):
    """A value for each field: techniques in any order, then the fields that they have.

    Earlier techniques keep later ones out that they contradict.
    """
    drawn = [draw(st.sampled_from(options)) for options in CHANGES.values()]
    own = [change for change in drawn if "." not in change[0]]
    return draw(st.permutations(own)) + [x for x in drawn if "." in x[0]]


ENVS = st.sampled_from([Walk(), Counting(), Hybrid()])
EACH_IS_COMPILED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def combine(drawn, env):
    """A config of all changes in turn, but for those that it refuses in one line."""
    config = replace(SMALL, {"total_timesteps": 2 * 32})
    for name, kind, value in drawn:
        on = flatten(config)
        if name not in on or (kind and on[f"{name.rpartition('.')[0]}.kind"] != kind):
            continue
        try:
            changed = replace(config, changes(name, kind, value))
            ppo.make_ppo(changed, env)
            config = changed
        except ValueError as error:
            assert re.fullmatch(r"Expected .+\.", str(error)), str(error)
    return config


def check_that_it_trains(config, env):
    @chex.assert_max_traces(n=1)
    def train(key):
        return ppo.make_train(config, env, CountingParams(5))(key)

    run = jit(train)
    results = [run(jax.random.key(seed)) for seed in (0, 1)]
    chex.clear_trace_counter()
    parts = ppo.make_ppo(config, env, CountingParams(5))
    start = jax.eval_shape(parts.init, jax.random.key(0))
    for state, metrics in results:
        chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
        assert {x.shape for x in jax.tree.leaves(metrics)} == {(2,)}
        assert state.update == 2
        assert metrics.finite.all()
        assert np.isfinite([metrics.policy_loss, metrics.value_loss]).all()


@settings(EACH_IS_COMPILED, max_examples=3)
@given(combinations(), ENVS)
def test_techniques_go_together(drawn, env):
    check_that_it_trains(combine(drawn, env), env)


@pytest.mark.slow
@settings(EACH_IS_COMPILED, max_examples=4)
@given(combinations(), ENVS)
def test_more_techniques_go_together(drawn, env):
    check_that_it_trains(combine(drawn, env), env)


def first_ratios(group, changes):
    """The least and the greatest ratio of each update's first and only minibatch."""
    once = {"num_epochs": 1, "num_minibatches": 1}
    metrics = train(replace(base(group), once | changes), jax.random.key(0)).metrics
    return jnp.stack([metrics.ratio_min, metrics.ratio_max])


def test_the_first_ratio_of_every_update_is_1():
    on = {
        "actor_optimizer.learning_rate": 1e-2,
        "bounds_loss": True,
        "critic_epochs": 2,
        "kl_penalty": True,
        "kl_stop.scope": "policy",
        "normalize_value": "pop_art",
        "recompute_advantages": True,
        "transform_value": None,
        "truncation": "drop",
    }
    ratios = jit(lambda: first_ratios("scheduled", on))()
    np.testing.assert_allclose(ratios, 1, atol=1e-5)


def test_a_temperature_alone_moves_the_first_ratio():
    on = {"critic_warmup": 2, "num_starts": 2, "shuffle": "trajectories"}

    def ratios(temperature):
        return first_ratios("clip", on | {"temperature": temperature})

    neutral, cold = jit(jax.vmap(ratios))(jnp.array([1.0, 0.7]))
    np.testing.assert_allclose(neutral, 1, atol=1e-5)
    assert (np.abs(cold - 1) > 0.1).all()


def test_evaluation_uses_the_normalisers_and_leaves_them_alone(key):
    on = {
        "evaluation": {"every": 1, "num_episodes": 2},
        "network.policy_gain": 1.0,
        "normalize_observation": True,
        "normalize_reward": "reward_normalization",
        "normalize_value": "running_mean_std",
    }
    env, env_params = Walk(), CountingParams(5)
    parts = ppo.make_ppo(replace(SMALL, on), env, env_params)

    def evaluate(state):
        act = lambda obs, memory, key: parts.act(state, obs)  # noqa: E731
        return ppo.evaluate(jax.random.key(0), act, env, env_params, 2).episode_return

    def run(key):
        start = parts.init(key)
        trained, _ = parts.step(start)
        evaluated, metrics = parts.advance(start, jnp.int32(0))
        other = evaluated._replace(obs_statistics=start.obs_statistics)
        return trained, evaluated, metrics, evaluate(evaluated), evaluate(other)

    trained, evaluated, metrics, returns, without = jit(run)(key)
    data = lambda state: state._replace(key=jax.random.key_data(state.key))  # noqa: E731
    chex.assert_trees_all_close(data(trained), data(evaluated), rtol=1e-6)
    assert trained.obs_statistics.num_samples > 30
    np.testing.assert_allclose(metrics.evaluation_return, returns.mean(), rtol=1e-5)
    assert np.abs(returns - without).max() > 1e-3
