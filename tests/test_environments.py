"""One step with auto-reset: what is kept, what starts afresh, and of which types."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.environments.protocol import make_reset, make_step
from purejaxppo.environments.wrappers import (
    FrameStack,
    SelectObservation,
    TimeLimit,
    Wrapper,
)

ENVS = [
    probes.ConstantValue(),
    probes.Discounting(),
    probes.Cut(),
    probes.Cut(terminates=True),
    probes.Match(),
    probes.Identity(),
    probes.Counting(),
    Wrapper(probes.Counting()),
    TimeLimit(probes.Counting(), 3),
    FrameStack(probes.Counting(), 3),
    SelectObservation(probes.Identity(), [1]),
]


@pytest.mark.parametrize("env", ENVS, ids=lambda env: type(env).__name__)
def test_probes_keep_the_protocol(env, key):
    params = env.default_params
    assert isinstance(env, ppo.Environment)
    obs, state = env.reset(key, params)
    action = env.action_space(params).sample()
    step = env.step(key, state, action, params)
    assert isinstance(step, ppo.Step)
    space = env.observation_space(params)
    assert space.contains(np.asarray(obs)) and space.contains(np.asarray(step.obs))
    assert jax.tree.structure(step.state) == jax.tree.structure(state)


def test_step_shows_the_observation_before_the_reset():
    env = probes.Counting()
    params = probes.CountingParams(length=2)
    reset, step = make_reset(env, params), make_step(env, params)
    key, action = jax.random.key(0), jnp.int32(0)
    fresh = reset(key)
    result, now = step(key, fresh, action, fresh)
    assert (result.obs, now.obs, result.terminated) == (1, 1, False)
    result, now = step(key, now, action, fresh)
    assert (result.obs, now.obs, result.terminated) == (2, 0, True)
    assert now.state.time == 0


class Loose(probes.Counting):
    """Returns whatever types Python happens to give."""

    def reset(self, key, params):
        start: Any = np.zeros(1, np.float32), {"time": 0}
        return start

    def step(self, key, state, action, params):
        time = state["time"] + 1
        return ppo.Step(
            obs=jnp.ones(1, jnp.int32),
            state={"time": time},
            reward=1,  # pyright: ignore[reportArgumentType]
            terminated=jnp.int32(time) >= params.length,
            truncated=False,  # pyright: ignore[reportArgumentType]
            info={},
        )


def test_loose_types_can_be_scanned(key):
    env, params = Loose(), probes.CountingParams()
    reset, step = make_reset(env, params), make_step(env, params)
    fresh = jax.jit(reset)(key)

    def advance(now, _):
        result, now = step(key, now, jnp.int32(0), fresh)
        return now, result.reward

    now, reward = jax.lax.scan(advance, fresh, None, 7)
    assert reward.dtype == now.obs.dtype == jnp.float32
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(now))
    assert now.state["time"] == 2


def test_truncated_and_terminated_both_reset(key):
    for terminates in (False, True):
        env, params = probes.Cut(terminates), probes.CountingParams(1)
        reset, step = make_reset(env, params), make_step(env, params)
        result, now = step(key, reset(key), jnp.int32(0), reset(key))
        assert (result.terminated, result.truncated) == (terminates, not terminates)
        assert (result.obs, now.obs) == (1, 0)
