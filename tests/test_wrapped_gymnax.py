"""A gymnax wrapper is played without gymnax's reset, or refused in one line."""

import dataclasses
import importlib
import pkgutil
import sys
import types
from functools import partial
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from gymnax.environments.bsuite import deep_sea
from gymnax.environments.classic_control import cartpole
from gymnax.wrappers import purerl

import purejaxppo as ppo
from envs import probes
from purejaxppo.checks import check_environment
from purejaxppo.config.fields import replace
from purejaxppo.environments.suites import adapt
from purejaxppo.environments.suites.gymnax import Gymnax
from purejaxppo.environments.wrappers import TimeLimit
from tests.techniques import jit

CartPole: Any = cartpole.CartPole
DeepSea: Any = deep_sea.DeepSea
TINY = ppo.Config(
    total_timesteps=2 * 64,
    num_envs=4,
    num_steps=16,
    num_epochs=1,
    num_minibatches=1,
    network=ppo.NetworkConfig(widths=()),
)


@pytest.fixture(autouse=True)
def own_ranks():
    """Some environments of gymnax broadcast ranks inside."""
    with jax.numpy_rank_promotion("allow"):
        yield


def cart_pole():
    return gymnax.make("CartPole-v1")[0]


# --- Wrappers and subclasses of every kind ------------------------------------------


class Tenth(CartPole):
    def step(self, key, state, action, params=None) -> Any:
        obs, state, reward, *rest = super().step(key, state, action, params)
        return obs, state, reward / 10, *rest


class Hundredth(Tenth):
    def step(self, key, state, action, params=None) -> Any:
        obs, state, reward, *rest = super().step(key, state, action, params)
        return obs, state, reward / 10, *rest


class Shown(purerl.GymnaxWrapper):
    """Twice the observation, and a name of its own for the environment inside."""

    def __init__(self, env):
        super().__init__(env)
        self.whatever = env

    def reset(self, key, params=None):
        obs, state = self.whatever.reset(key, params)
        return 2 * obs, state

    def step(self, key, state, action, params=None):
        obs, *rest, info = self.whatever.step(key, state, action, params)
        info = {**info, "final_observation": 2 * info["final_observation"]}
        return 2 * obs, *rest, info


class Other(purerl.GymnaxWrapper):
    """The other action, by a method that a jit has traced for the environment."""

    @partial(jax.jit, static_argnames=("self",))
    def step(self, key, state, action, params=None):
        return self._env.step(key, state, 1 - action, params)


class Noisy(purerl.GymnaxWrapper):
    """Rewards that are random, by a key of the step's."""

    def step(self, key, state, action, params=None):
        noise_key, key = jax.random.split(key)
        obs, state, _, *rest = self._env.step(key, state, action, params)
        return obs, state, jax.random.normal(noise_key), *rest


class Limit(purerl.GymnaxWrapper):
    """A time limit of three steps in the wrapper's own state."""

    def reset(self, key, params=None):
        obs, inner = self._env.reset(key, params)
        return obs, (inner, jnp.int32(0))

    def step(self, key, state, action, params=None):
        inner, time = state
        obs, inner, reward, terminated, truncated, info = self._env.step(
            key, inner, action, params
        )
        truncated = truncated | (time >= 2)
        return obs, (inner, time + 1), reward, terminated, truncated, info


class Trial(purerl.GymnaxWrapper):
    """Two episodes of the inner environment are one: the first end is hidden."""

    def reset(self, key, params=None):
        obs, inner = self._env.reset(key, params)
        return obs, (inner, jnp.int32(0))

    def step(self, key, state, action, params=None):
        inner, ends = state
        obs, inner, reward, terminated, truncated, info = self._env.step(
            key, inner, action, params
        )
        ends = ends + (terminated | truncated)
        ended = ends >= 2
        return obs, (inner, ends), reward, ended, ended & truncated, info


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A wrapper that is no `GymnaxWrapper`, and equals another one by its fields."""

    inner: Any

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def step(self, key, state, action, params=None):
        obs, state, reward, *rest = self.inner.step(key, state, action, params)
        return obs, state, -reward, *rest


class DeepTenth(DeepSea):
    """A subclass of gymnax's only environment with a `step` of its own."""

    def step(self, key, state, action, params=None) -> Any:
        obs, state, reward, *rest = super().step(key, state, action, params)
        return obs, state, reward / 10, *rest


class StartsAtZero(purerl.GymnaxWrapper):
    """A wrapper with a `reset` only."""

    def reset(self, key, params=None):
        obs, state = self._env.reset(key, params)
        zeros = jax.tree.map(jnp.zeros_like, (state.x, state.theta))
        return jnp.zeros_like(obs), state.replace(x=zeros[0], theta=zeros[1])


def with_step_of_its_own():
    """An environment whose `step` is an attribute, and does not reset."""
    env = cart_pole()

    def step(key, state, action, params=None):
        key, _ = jax.random.split(key)
        obs, state, reward, terminated, info = env.step_env(key, state, action, params)
        info = info | {"final_observation": obs}
        return obs, state, 7 * reward, terminated, env.is_truncated(state, params), info

    env.step = step
    return env


class Wind(CartPole):
    """A `step_env` that calls `reset_env`, where no episode ends."""

    def step_env(self, key, state, action, params) -> Any:
        _, fresh = self.reset_env(key, params)
        state = state.replace(x_dot=state.x_dot + fresh.x_dot)
        return super().step_env(key, state, action, params)


same = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)

KINDS = {
    "subclass": Tenth,
    "subclass of a subclass": Hundredth,
    "subclass of one with a step": DeepTenth,
    "observation": lambda: Shown(cart_pole()),
    "action": lambda: Other(cart_pole()),
    "reward": lambda: Noisy(cart_pole()),
    "truncation": lambda: Limit(cart_pole()),
    "termination": lambda: Trial(cart_pole()),
    "frozen": lambda: Frozen(cart_pole()),
    "reset": lambda: StartsAtZero(cart_pole()),
    "attribute": with_step_of_its_own,
    "sticky": lambda: purerl.StickyActionWrapper(cart_pole(), 0.5),
    "log": lambda: purerl.LogWrapper(Wind()),
    "flat": lambda: purerl.FlattenObservationWrapper(gymnax.make("Catch-bsuite")[0]),
    "many": lambda: purerl.LogWrapper(Limit(Shown(Other(Tenth())))),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_steps_are_gymnaxs_own_with_the_true_last_observation(make):
    """Each step is compared with gymnax's, from wherever gymnax's has gone."""
    wrapped = make()
    env, params = adapt(wrapped), wrapped.default_params.replace(max_steps_in_episode=9)

    def both(state, key):
        action = jax.random.randint(key, (), 0, 2)
        ours = env.step(key, state, action, params)
        obs, state, reward, terminated, truncated, info = wrapped.step(
            key, state, action, params
        )
        gymnaxs = ppo.Step(obs, state, reward, terminated, truncated, {})
        last = jnp.broadcast_to(info["final_observation"], obs.shape)
        return state, (ours._replace(info={}), gymnaxs, last)

    @jit
    def play(key):
        start_key, key = jax.random.split(key)
        start, theirs = env.reset(start_key, params), wrapped.reset(start_key, params)
        keys = jax.random.split(key, 40)
        return start, theirs, jax.lax.scan(both, theirs[1], keys)[1]

    start, theirs, (ours, gymnaxs, last) = play(jax.random.key(0))
    jax.tree.map(same, start, theirs)
    done = np.asarray(ours.terminated | ours.truncated)
    assert 1 < done.sum() < len(done)
    for name in ("reward", "terminated", "truncated"):
        same(getattr(ours, name), getattr(gymnaxs, name))
    same(np.asarray(ours.obs)[done], np.asarray(last)[done])
    for mine, other in ((ours.obs, gymnaxs.obs), (ours.state, gymnaxs.state)):
        jax.tree.map(lambda x, y: same(x[~done], y[~done]), mine, other)
    if make is not with_step_of_its_own:
        assert (np.asarray(ours.obs)[done] != np.asarray(gymnaxs.obs)[done]).any()


class Bounded(CartPole):
    """Overrides what gymnax's `step` and `reset` call, and neither of them."""

    def step_env(self, key, state, action, params) -> Any:
        obs, state, _, *rest = super().step_env(key, state, action, params)
        return obs, state, jnp.float32(5), *rest

    def is_truncated(self, state, params):
        return state.time >= 2


@pytest.mark.parametrize("kind", [CartPole, Bounded, DeepSea])
def test_an_environment_with_gymnaxs_own_step_takes_it_without_the_reset(kind):
    raw = kind()
    env, params = adapt(raw), raw.default_params

    def by_hand(key, state, action):
        obs, state, reward, terminated, info = raw.step_env(key, state, action, params)
        return obs, state, reward, terminated, raw.is_truncated(state, params), info

    def adapted(key, state, action):
        return tuple(env.step(key, state, action, params))

    assert isinstance(env, Gymnax)
    inputs = jax.random.key(0), raw.reset(jax.random.key(1), params)[1], jnp.int32(0)
    programs = [str(jax.make_jaxpr(step)(*inputs)) for step in (by_hand, adapted)]
    assert programs[0] == programs[1]


class Mine(purerl.GymnaxWrapper):
    """Of our own protocol, but with gymnax's attributes."""

    def step(self, key, state, action, params) -> Any:
        obs, state, _, terminated, _ = self._env.step_env(key, state, action, params)
        return ppo.Step(obs, state, jnp.float32(3), terminated, jnp.bool_(False), {})

    def action_arguments(self, params):
        return None


def test_a_step_of_our_protocol_is_played_as_it_is():
    env = adapt(Mine(cart_pole()))
    params = env.default_params
    _, state = env.reset(jax.random.key(0), params)
    step = env.step(jax.random.key(0), state, jnp.int32(0), params)
    assert isinstance(step, ppo.Step) and step.reward == 3 and step.info == {}
    assert getattr(env, "action_arguments", None) is not None


@pytest.mark.parametrize(
    "wrapper", [purerl.LogWrapper, purerl.FlattenObservationWrapper, Limit]
)
def test_gymnaxs_wrappers_go_around_our_environments(wrapper):
    class Flat(probes.Cut):
        def observation_space(self, params) -> Any:
            return spaces.Box(-9, 9, (1,))

    env, params = adapt(wrapper(TimeLimit(Flat(), 9))), probes.CountingParams(3)
    assert repr(env) == f"Gymnax({wrapper.__name__}(TimeLimit(Flat)))"
    _, state = env.reset(jax.random.key(0), params)
    ends = []
    for _ in range(3):
        step = env.step(jax.random.key(0), state, jnp.int32(0), params)
        state, ends = step.state, [*ends, bool(step.truncated)]
    assert ends == [False, False, True]


# --- What is refused ----------------------------------------------------------------


class ResetsByReset(purerl.GymnaxWrapper):
    def step(self, key, state, action, params=None):
        obs, state, reward, terminated, truncated, info = self._env.step(
            key, state, action, params
        )
        fresh_obs, fresh = self.reset(key, params)
        obs = jnp.where(terminated, fresh_obs, obs)
        state = jax.tree.map(lambda a, b: jnp.where(terminated, a, b), fresh, state)
        return obs, state, reward, terminated, truncated, info


class ResetsByResetEnv(CartPole):
    """Its fresh start is made of constants: none of it is seen in the program."""

    def reset_env(self, key, params):
        _, state = super().reset_env(jax.random.key(0), params)
        return np.zeros(4, np.float32), state

    def step(self, key, state, action, params=None) -> Any:
        obs, after, reward, ended, info = self.step_env(key, state, action, params)
        fresh, _ = self.reset_env(key, params)
        return jnp.where(ended, fresh, obs), after, reward, ended, jnp.array(0), info


class Old(purerl.GymnaxWrapper):
    def step(self, key, state, action, params=None):
        obs, state, reward, *done, info = self._env.step(key, state, action, params)
        return obs, state, reward, done[0] | done[1], info


class OldEnvironment:
    """Written for gymnax before 1.0, and of no class of gymnax's."""

    default_params = None

    def __init__(self):
        self.inner = probes.Counting()

    def reset(self, key, params=None):
        return self.reset_env(key, params)

    def reset_env(self, key, params):
        return self.inner.reset(key, probes.CountingParams())

    def step_env(self, key, state, action, params):
        step = self.inner.step(key, state, action, probes.CountingParams())
        return step.obs, step.state, step.reward, step.terminated, {}

    def step(self, key, state, action, params=None):
        return self.step_env(key, state, action, params)

    def observation_space(self, params):
        return spaces.Box(0, 9, (1,))

    def action_space(self, params):
        return spaces.Discrete(2)


class SixFromStepEnv(CartPole):
    def step_env(self, key, state, action, params) -> Any:
        obs, state, reward, done, info = super().step_env(key, state, action, params)
        return obs, state, reward, done, done, info


class OnlyStepEnv(purerl.GymnaxWrapper):
    def step_env(self, key, state, action, params):
        obs, state, reward, *rest = self._env.step_env(key, state, action, params)
        return obs, state, 2 * reward, *rest


class OnlyResetEnv(purerl.GymnaxWrapper):
    def reset_env(self, key, params):
        return self._env.reset_env(key, params)


class OnlyObserve(purerl.GymnaxWrapper):
    def get_obs(self, state, params=None, key=None):
        return 0


class Shared(purerl.GymnaxWrapper):
    inner = gymnax.make("CartPole-v1")[0]

    def step(self, key, state, action, params=None):
        return type(self).inner.step(key, state, action, params)


class Bound(purerl.GymnaxWrapper):
    """Calls a function that was made of the inner environment's step."""

    def __init__(self, env):
        super().__init__(env)
        self.play = jax.jit(env.step)

    def step(self, key, state, action, params=None):
        return self.play(key, state, action, params)


def closure():
    inner = cart_pole()
    offered = {name: getattr(inner, name) for name in dir(inner) if name[0] != "_"}
    return types.SimpleNamespace(
        **offered | {"step": lambda *inputs: inner.step(*inputs)}
    )


def replaced_step():
    env = cart_pole()
    own = type(env).step
    env.step = lambda key, state, action, params=None: own(
        env, key, state, action, params
    )
    return env


class Keeping(purerl.GymnaxWrapper):
    def step(self, key, state, action, params=None):
        self.last = action
        return self._env.step(key, state, action, params)


REFUSED = {
    "reset in step": (lambda: ResetsByReset(cart_pole()), "step calls reset; take"),
    "reset_env in step": (ResetsByResetEnv, "step calls reset_env; take that call out"),
    "five values": (lambda: Old(cart_pole()), "Old.step returns five values"),
    "an old environment": (OldEnvironment, "OldEnvironment.step returns five values"),
    "inside": (lambda: purerl.LogWrapper(Old(cart_pole())), "not enough values"),
    "step_env of six": (SixFromStepEnv, "step_env returns a tuple of 6; it must "),
    "only step_env": (lambda: OnlyStepEnv(cart_pole()), "overrides step_env, but the "),
    "only reset_env": (lambda: OnlyResetEnv(cart_pole()), "overrides reset_env, but"),
    "only get_obs": (lambda: OnlyObserve(cart_pole()), "overrides get_obs, but the "),
    "a class attribute": (lambda: Shared(cart_pole()), "Shared.step resets at an ep"),
    "a bound step": (lambda: Bound(cart_pole()), "Bound.step resets at an episode's"),
    "a closure": (closure, "SimpleNamespace.step resets at an episode's end"),
    "a replaced step": (replaced_step, "CartPole.step resets at an episode's end"),
    "kept": (lambda: Keeping(cart_pole()), "got last set in one of them"),
    "a class": (lambda: CartPole, "env is the class CartPole; pass an instance"),
    "a pair": (lambda: gymnax.make("CartPole-v1"), "pass both: make_train(config, *en"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_played_is_refused_in_one_line(make, message):
    with pytest.raises((TypeError, ValueError)) as error:
        ppo.make_ppo(TINY, make())
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def packages(monkeypatch):
    """Stand-ins for packages that some of gymnax's wrappers are made for."""
    blank = types.SimpleNamespace(Env=object, State=dict)
    kinds = {"TaskState": object, "VectorizedTask": object}
    names = {
        "brax": {"envs": blank},
        "brax.envs": vars(blank),
        **{"evojax": {}, "evojax.task": {}, "evojax.task.base": kinds},
    }
    for name, values in names.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    yield
    for name in ("brax", "evojax"):
        sys.modules.pop(f"gymnax.wrappers.{name}", None)


PLAYED = {"FlattenObservationWrapper", "LogWrapper", "StickyActionWrapper"}


def test_each_wrapper_of_gymnax_is_played_or_refused_in_one_line(packages):
    found = {}
    for module in pkgutil.iter_modules(
        importlib.import_module("gymnax.wrappers").__path__
    ):
        name = f"gymnax.wrappers.{module.name}"
        kinds = vars(importlib.import_module(name)).values()
        found |= {
            kind.__name__: kind
            for kind in kinds
            if isinstance(kind, type)
            and kind.__module__ == name
            and hasattr(kind, "step")
        }
    assert len(found) == 9 and set(found) >= PLAYED
    for name, kind in found.items():
        own = "CartPole-v1" if name == "GymnaxToEvoJaxTask" else cart_pole()
        if name in PLAYED:
            ppo.make_ppo(TINY, kind(own))
            continue
        with pytest.raises((TypeError, ValueError)) as error:
            ppo.make_ppo(TINY, kind(own))
        assert "\n" not in str(error.value)
        assert error.value.__cause__ is None, name


# --- Training, evaluation, checks, and ids ------------------------------------------

MODULE = """
import gymnax
from gymnax.wrappers.purerl import StickyActionWrapper

def make():
    env, params = gymnax.make("CartPole-v1")
    return StickyActionWrapper(env, 1.0), params
"""


def test_training_evaluation_and_check_play_the_wrapper(tmp_path, monkeypatch):
    """One action for ever ends each episode of CartPole within ten steps."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "glued.py").write_text(MODULE)
    env, params = ppo.make(f"{tmp_path}/glued.py:make")
    every = ppo.EvaluationConfig(every=1, num_episodes=4)
    config = replace(TINY, {"evaluation": every, "learning_rate": 0.0})
    metrics = jit(ppo.make_train(config, env, params))(jax.random.key(0)).metrics
    for lengths in (metrics.episode_length, metrics.evaluation_length):
        assert (lengths >= 7).all() and (lengths <= 10).all()
    checks = check_environment(env, num_envs=4, num_steps=20)
    played = {check.name: check for check in checks}
    assert all(check.passed for check in checks), checks
    assert "8 ended, one in 10 steps: 8 terminated" in played["episodes"].detail
