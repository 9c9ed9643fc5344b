"""Wrappers: what they show and when they cut, against gymnasium's."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import purejaxppo as ppo
from envs import identity, masked, moving, probes
from purejaxppo.environments.protocol import make_reset, make_step
from purejaxppo.environments.spaces import check_value
from purejaxppo.environments.wrappers import (
    FrameStack,
    HideMask,
    ObservationWrapper,
    SelectObservation,
    TimeLimit,
    Wrapper,
)


def rollout(env, params, num_steps, action=0):
    """The first observation, and the steps without resets."""
    step = jax.jit(env.step)
    obs, state = jax.jit(env.reset)(jax.random.key(0), params)
    steps = []
    for i in range(num_steps):
        steps.append(step(jax.random.key(i), state, jnp.int32(action), params))
        state = steps[-1].state
    return obs, steps


@pytest.mark.parametrize(
    ("max_steps", "terminated", "truncated"),
    [
        (1, [0, 0, 0, 1], [1, 1, 1, 1]),
        (3, [0, 0, 0, 1], [0, 0, 1, 1]),
        (4, [0, 0, 0, 1], [0, 0, 0, 1]),
        (5, [0, 0, 0, 1], [0, 0, 0, 0]),
    ],
)
def test_a_time_limit_truncates(max_steps, terminated, truncated):
    env = TimeLimit(probes.Counting(), max_steps)
    _, steps = rollout(env, probes.CountingParams(length=4), 4)
    np.testing.assert_array_equal([s.terminated for s in steps], terminated)
    np.testing.assert_array_equal([s.truncated for s in steps], truncated)
    np.testing.assert_array_equal([s.reward for s in steps], [1, 2, 3, 4])


def test_a_time_limit_adds_to_the_inner_one():
    env = TimeLimit(probes.Cut(), 3)
    _, steps = rollout(env, probes.CountingParams(length=2), 2)
    assert not steps[0].truncated and steps[1].truncated
    assert steps[1].truncated.dtype == bool


def test_a_time_limit_starts_anew_with_each_episode(key):
    env = TimeLimit(probes.Counting(), 2)
    params = env.default_params
    reset, step = make_reset(env, params), make_step(env, params)

    def advance(now, _):
        result, now = step(key, now, jnp.int32(0), reset(key))
        return now, (result.truncated, result.obs[0])

    _, (truncated, obs) = jax.lax.scan(advance, reset(key), None, 5)
    np.testing.assert_array_equal(truncated, [False, True, False, True, False])
    np.testing.assert_array_equal(obs, [1, 2, 1, 2, 1])


def floats(*values):
    return np.array(values, np.float32)


TREE = spaces.Dict(
    vector=spaces.Box(floats(0, -1), floats(50, 5)),
    image=spaces.Box(0, 255, (2, 3, 2), np.uint8),
    scalar=spaces.Box(-1.0, 99.0, (), np.float32),
    pair=spaces.Tuple(
        (
            spaces.Discrete(9, start=2),
            spaces.MultiDiscrete([20, 30], start=[1, 0]),
            spaces.MultiBinary((2, 3)),
        )
    ),
)


def shown(time, xp=np):
    """A value of `TREE` that tells the time in each of its parts."""
    return {
        "vector": xp.array([time, -1]).astype(xp.float32),
        "image": (10 * time + xp.arange(12).reshape(2, 3, 2)).astype(xp.uint8),
        "scalar": xp.asarray(0.5 * time).astype(xp.float32),
        "pair": (
            xp.asarray(time + 2).astype(xp.int32),
            xp.array([time + 1, 2 * time]).astype(xp.int32),
            (xp.arange(6).reshape(2, 3) == time).astype(xp.int8),
        ),
    }


class Show(Wrapper):
    """Shows the time in all kinds of spaces."""

    def __init__(self, masked=False):
        super().__init__(probes.Counting())
        self.masked = masked

    def _obs(self, time):
        mask = {"action_mask": jnp.arange(2) <= time} if self.masked else {}
        return {**shown(time, jnp), **mask}

    def reset(self, key, params):
        _, state = super().reset(key, params)
        return self._obs(state.time), state

    def step(self, key, state, action, params):
        step = super().step(key, state, action, params)
        return step._replace(obs=self._obs(step.state.time))

    def observation_space(self, params):
        mask = {"action_mask": spaces.MultiBinary(2)} if self.masked else {}
        return spaces.Dict({**TREE.spaces, **mask})


def stacked(times):
    """What a stack of the frames of these times must be, part by part."""
    values = [jax.tree.map(np.atleast_1d, shown(time)) for time in times]
    return jax.tree.map(lambda *x: np.concatenate(x, -1), *values)


def assert_same(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
def test_frames_are_stacked_in_every_part_of_a_tree(masked):
    env = FrameStack(Show(masked), 3)
    params = env.default_params
    obs, steps = rollout(env, params, 4)
    history = [obs, *(step.obs for step in steps)]
    times = [(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4)]
    space = env.observation_space(params)
    for now, frames in enumerate(times):
        assert space.contains(jax.tree.map(np.asarray, history[now]))
        mask = {"action_mask": np.arange(2) <= now} if masked else {}
        assert_same(history[now], {**stacked(frames), **mask})


def test_the_space_of_stacked_frames():
    env = FrameStack(Show(masked=True), 2)
    space = env.observation_space(env.default_params)
    expected = spaces.Dict(
        vector=spaces.Box(floats(0, -1, 0, -1), floats(50, 5, 50, 5)),
        image=spaces.Box(0, 255, (2, 3, 4), np.uint8),
        scalar=spaces.Box(-1.0, 99.0, (2,), np.float32),
        pair=spaces.Tuple(
            (
                spaces.MultiDiscrete([9, 9], start=[2, 2]),
                spaces.MultiDiscrete([20, 30, 20, 30], start=[1, 0, 1, 0]),
                spaces.MultiBinary((2, 6)),
            )
        ),
        action_mask=spaces.MultiBinary(2),
    )
    assert space == expected


class Gym(gymnasium.Env):
    """gymnasium's side of `probes.Counting`, to stack its frames."""

    observation_space = spaces.Box(0.0, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        obs = np.array([self.time], np.float32)
        return obs, float(self.time), self.time >= 5, False, {}


@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_frames_are_stacked_as_gymnasium_does(num_frames):
    env = FrameStack(probes.Counting(), num_frames)
    obs, steps = rollout(env, env.default_params, 5)
    oracle = gymnasium.wrappers.FrameStackObservation(Gym(), num_frames)
    np.testing.assert_array_equal(obs, oracle.reset()[0].ravel())
    for step in steps:
        expected, reward, terminated, _, _ = oracle.step(0)
        np.testing.assert_array_equal(step.obs, expected.ravel())
        assert (step.reward, step.terminated) == (reward, terminated)


def test_no_frame_outlives_its_episode(key):
    env, params = FrameStack(probes.Counting(), 2), probes.CountingParams(length=3)
    reset, step = make_reset(env, params), make_step(env, params)

    def advance(now, _):
        result, now = step(key, now, jnp.int32(0), reset(key))
        return now, (result.obs, now.obs)

    _, (before, after) = jax.lax.scan(advance, reset(key), None, 4)
    np.testing.assert_array_equal(before, [[0, 1], [1, 2], [2, 3], [0, 1]])
    np.testing.assert_array_equal(after, [[0, 1], [1, 2], [0, 0], [0, 1]])


def test_entries_are_selected_in_their_order(key):
    inner = ppo.make("CartPole-v1")[0]
    env = SelectObservation(inner, [3, 0])
    params = env.default_params
    obs, steps = rollout(env, params, 3)
    full, others = rollout(inner, params, 3)
    chosen = np.array([3, 0])
    np.testing.assert_array_equal(obs, full[chosen])
    for step, other in zip(steps, others, strict=True):
        np.testing.assert_array_equal(step.obs, other.obs[chosen])
    whole: Any = inner.observation_space(params)
    expected = spaces.Box(whole.low[chosen], whole.high[chosen])
    assert env.observation_space(params) == expected


class Offering(ObservationWrapper):
    """Observes more than one vector, and a mask."""

    def observe(self, obs):
        return {"a": obs, "b": -obs, "action_mask": jnp.ones(2, jnp.int8)}

    def observation_space(self, params):
        space = spaces.Box(-9, 9, (1,), np.float32)
        return spaces.Dict(a=space, b=space, action_mask=spaces.MultiBinary(2))


@pytest.mark.parametrize("inner", [masked.Doors(), Offering(probes.Counting())])
def test_a_hidden_mask_is_all_that_is_missing(inner):
    env, params = HideMask(inner), inner.default_params
    obs, steps = rollout(env, params, 3)
    full, others = rollout(inner, params, 3)
    shown = [obs, *(step.obs for step in steps)]
    for some, whole in zip(shown, [full, *(x.obs for x in others)], strict=True):
        rest = {name: x for name, x in whole.items() if name != "action_mask"}
        rest = rest["observation"] if list(rest) == ["observation"] else rest
        jax.tree.map(np.testing.assert_array_equal, some, rest)
        check_value(env.observation_space(params), some, "obs")


def test_wrappers_keep_what_they_do_not_change():
    inner = moving.Moving()
    env = TimeLimit(FrameStack(inner, 2), 9)
    params = inner.default_params
    assert env.default_params == params
    assert env.action_space(params) == inner.action_space(params)
    assert env.action_arguments(params).type == "0"
    assert not hasattr(TimeLimit(probes.Counting(), 9), "action_arguments")
    cartpole = SelectObservation(ppo.make("CartPole-v1")[0], (0, 2))
    assert repr(TimeLimit(FrameStack(cartpole, 2), 9)) == (
        "TimeLimit(FrameStack(SelectObservation(Gymnax(CartPole-v1), indices=(0, 2)), "
        "num_frames=2), max_steps=9)"
    )


class Text(probes.Counting):
    """Observes what nothing can be made of."""

    def observation_space(self, params):
        return spaces.Dict(a=spaces.Tuple((spaces.Discrete(2), spaces.Text(3))))


def raw():
    gymnax = pytest.importorskip("gymnax")
    return Wrapper(gymnax.make("CartPole-v1")[0])


WRONG: Any = 2.5
BAD = [
    (lambda: TimeLimit(probes.Counting(), 0), "TimeLimit.max_steps to be a whole .* 0"),
    (lambda: TimeLimit(probes.Counting(), WRONG), "max_steps to be a whole .* got 2.5"),
    (lambda: TimeLimit(probes.Counting(), True), "max_steps to be a whole .* got True"),
    (lambda: FrameStack(probes.Counting(), 0), "FrameStack.num_frames .* >= 1, got 0"),
    (lambda: FrameStack(Text(), 2), r"observation_space\.a\.1 to be Box, .* Text"),
    (lambda: SelectObservation(probes.Identity(), [2]), r"in \[0, 2\), got \(2,\)"),
    (lambda: SelectObservation(probes.Identity(), [-1]), r"in \[0, 2\), got \(-1,\)"),
    (lambda: SelectObservation(probes.Identity(), [0, 0]), r"different .* \(0, 0\)"),
    (lambda: SelectObservation(probes.Identity(), [WRONG]), "indices to be different"),
    (lambda: SelectObservation(probes.Identity(), []), r"got \(\)"),
    (lambda: SelectObservation(identity.DiscreteIdentity(), [0]), "a vector .* Discr"),
    (lambda: SelectObservation(identity.BoxIdentity((2, 2)), [0]), "a vector .* Box"),
    (lambda: HideMask(probes.Identity()), "observation_space to have action_mask, got"),
    (raw, "Wrapper.env to be an Environment, got CartPole"),
    (lambda: Wrapper(WRONG), "Wrapper.env to be an Environment, got float"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_wrappers_say_so(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert str(error.value).startswith("Expected ") and "\n" not in str(error.value)
