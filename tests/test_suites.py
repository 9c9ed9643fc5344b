"""Every gymnax environment makes, keeps its spaces, and can be rolled out."""

import sys
from typing import Any

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.environments.protocol import make_reset, make_step
from purejaxppo.environments.suites import adapt, custom

CONFIG = ppo.Config(
    total_timesteps=8,
    num_envs=2,
    num_steps=4,
    num_epochs=1,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8,)),
)
MNIST = "MNISTBandit-bsuite"


@pytest.fixture(autouse=True)
def own_ranks():
    """Some environments of gymnax broadcast ranks inside."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def images(monkeypatch):
    """Ten small images in the place of those that gymnax downloads."""
    data = np.arange(10 * 4).reshape(10, 2, 2).astype(np.int8), np.arange(10)
    loader = sys.modules["gymnax.utils.load_mnist"]
    monkeypatch.setattr(loader, "load_mnist", lambda: (data, data))


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("env_id", gymnax.registered_envs)
def test_spaces_match_what_is_returned(env_id, images):
    env, params = ppo.make(env_id)
    assert isinstance(env, ppo.Environment) and "Gymnax(" in repr(env)
    space, actions = env.observation_space(params), env.action_space(params)
    reset, step = make_reset(env, params), make_step(env, params)
    key = jax.random.key(0)
    fresh = jax.eval_shape(reset, key)
    action = jax.eval_shape(lambda: jnp.asarray(actions.sample()))
    result, now = jax.eval_shape(step, key, fresh, action, fresh)
    assert result.obs.shape == fresh.obs.shape == space.shape
    assert result.reward.shape == result.terminated.shape == result.truncated.shape
    assert shapes(now) == shapes(fresh)
    kind = np.integer if isinstance(space, gymnasium.spaces.Discrete) else np.number
    assert jnp.issubdtype(fresh.obs.dtype, kind)


@pytest.mark.parametrize("env_id", gymnax.registered_envs)
def test_a_step_of_ppo_traces(env_id, images, key):
    parts = ppo.make_ppo(CONFIG, *ppo.make(env_id))
    state = jax.eval_shape(parts.init, key)
    after, metrics = jax.eval_shape(parts.step, state)
    assert shapes(after) == shapes(state)
    assert metrics.episode_return.shape == ()


@pytest.mark.parametrize(
    "env_id",
    [
        "CartPole-v1",
        "Pendulum-v1",
        "Breakout-MinAtar",
        "FrozenLake-misc",
        "FourRooms-misc",
        "PointRobot-misc",
        MNIST,
    ],
)
def test_training_runs(env_id, images):
    env, params = ppo.make(env_id)
    train = jax.jit(jax.vmap(ppo.make_train(CONFIG, env, params)))
    result = train(jax.random.split(jax.random.key(0), 2))
    assert result.metrics.finite.all()
    obs = np.asarray(result.state.collector.now.obs)[0, 0]
    space = env.observation_space(params)
    if isinstance(space, gymnasium.spaces.Discrete):
        assert space.contains(int(obs))
    else:
        assert isinstance(space, gymnasium.spaces.Box)
        assert (obs >= space.low - 1e-4).all() and (obs <= space.high + 1e-4).all()


def test_time_limits_truncate_and_do_not_terminate():
    env, params = ppo.make("Pendulum-v1")
    params = params.replace(max_steps_in_episode=1)
    _, state = env.reset(jax.random.key(0), params)
    step = env.step(jax.random.key(0), state, jnp.zeros(1), params)
    assert (bool(step.terminated), bool(step.truncated)) == (False, True)


def test_traced_parameters_make_spaces_too():
    env, params = ppo.make("Pendulum-v1")

    def width(max_torque):
        space = env.action_space(params.replace(max_torque=max_torque))
        assert space.shape == (1,)
        return max_torque

    jax.eval_shape(width, 2.0)


def test_ids_name_their_suite():
    ids = ppo.env_ids()
    assert len(ids) == len(set(ids)) == len(gymnax.registered_envs)
    assert "gymnax/CartPole-v1" in ids
    assert ppo.make("gymnax/CartPole-v1")[1] == ppo.make("CartPole-v1")[1]


@pytest.mark.parametrize(
    "env_id, near",
    [
        ("CartPole-v0", "CartPole-v1"),
        ("Breakout", "Breakout-MinAtar"),
        ("gymnx/CartPole-v1", "gymnax"),
    ],
)
def test_unknown_ids_give_the_nearest(env_id, near):
    with pytest.raises(ValueError) as error:
        ppo.make(env_id)
    message = str(error.value)
    assert "\n" not in message and repr(env_id) in message and near in message


@pytest.mark.parametrize("failure", [OSError("no network"), TimeoutError("too slow")])
def test_a_failed_download_is_one_line(failure, monkeypatch):
    def fail():
        raise failure

    monkeypatch.setattr(sys.modules["gymnax.utils.load_mnist"], "load_mnist", fail)
    expected = rf"^Environment '{MNIST}' could not load its data: {failure}\.$"
    with pytest.raises(ValueError, match=expected):
        ppo.make(MNIST)


# --- One's own ------------------------------------------------------------------------

MINE = """
import gymnax
from neighbour import LENGTH
from envs.probes import Counting, CountingParams, Cut


class Mine(Counting):
    action_arguments = "arguments"


class Callable(Counting):
    def __call__(self):
        raise RuntimeError("not to be called")


class Sized(Cut):
    def __init__(self, size, *sizes, mode, last=True):
        pass


class Failing(Cut):
    def __init__(self):
        self.size = 1 / 0


class Lost(Cut):
    @property
    def default_params(self):
        return [][0]


class NoStep:
    default_params = None
    reset = action_space = observation_space = Cut.reset


def with_params():
    return Mine(), CountingParams(LENGTH)


def of_gymnax():
    return gymnax.make("CartPole-v1")


def leave():
    raise SystemExit("leaving")


def need(n):
    return n


instance = Callable()
pair = with_params()
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with environments of one's own, as a module and as a file."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        (place / "mine.py").write_text(MINE)
        (place / "neighbour.py").write_text("LENGTH = 3\n")
    (tmp_path / "wrong.py").write_text("x = 1\nimport nowhere_to_be_found\n")
    (tmp_path / "spelt.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "gone.py").write_text("\n\nraise SystemExit\n")
    return tmp_path


@pytest.mark.parametrize(
    "place", ["mine", "mine.py", "sub.mine", "sub/mine.py", "./mine.py"]
)
@pytest.mark.parametrize(
    ("name", "kind", "length"),
    [
        ("Mine", "Mine", 5),
        ("instance", "Callable", 5),
        ("with_params", "Configured", 3),
        ("pair", "Configured", 3),
    ],
)
def test_ones_own_by_module_and_by_file(place, name, kind, length, folder):
    env, params = ppo.make(f"{place}:{name}")
    assert isinstance(env, ppo.Environment)
    assert (type(env).__name__, params.length) == (kind, length)
    assert env.default_params == params


def test_a_module_of_the_project_is_the_one_that_is_imported():
    env, params = ppo.make("envs.probes:Cut")
    assert type(env) is probes.Cut and params == probes.CountingParams()


def test_a_file_is_imported_once_and_in_full_view(folder):
    first, again = (
        custom.load("sub/mine.py:Mine"),
        custom.load(f"{folder}/sub/mine.py:Mine"),
    )
    assert type(first) is type(again)
    module = sys.modules[type(first).__module__]
    assert module.__file__ == str(folder / "sub" / "mine.py")
    assert type(custom.load("mine.py:Mine")) is not type(first)
    assert str(folder / "sub") in sys.path
    assert sys.modules["neighbour"].__file__ == str(folder / "sub" / "neighbour.py")


def test_a_pair_keeps_what_the_environment_offers(folder):
    env, _ = ppo.make("mine:with_params")
    assert getattr(env, "action_arguments", None) == "arguments"
    env, params = ppo.make("mine:of_gymnax")
    assert repr(env) == "Configured(Gymnax(CartPole-v1))"
    assert params == ppo.make("CartPole-v1")[1]


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("mine", "Unknown environment 'mine'; "),
        (
            "mine.py",
            "env to be module:Object or path/to/file.py:Object, got 'mine.py'.",
        ),
        ("mine:", "to be module:Object or path/to/file.py:Object, got 'mine:'."),
        (":Mine", "to be module:Object or path/to/file.py:Object, got ':Mine'."),
        ("minn:Mine", "Expected a module minn, found none; nearest: mine, sub.mine."),
        ("sub.minn:Mine", "Expected a module sub.minn, found none; nearest: sub.mine,"),
        ("mine.sub:Mine", "Expected a module mine.sub, found none."),
        ("a..b:Mine", "Expected a module a..b, found none; "),
        (".mine:Mine", "Expected a module .mine, found none; "),
        ("sub/min.py:Mine", "a file at sub/min.py, found none; nearest: sub/mine.py,"),
        ("sub/mine:Mine", "a file at sub/mine, found none; nearest: sub/mine.py,"),
        ("no/where.py:Mine", "Expected a file at no/where.py, found none."),
        ("mine:Mind", "Expected mine to have 'Mind', found none; nearest: Mine"),
        (
            "wrong:X",
            "Importing wrong raised ModuleNotFoundError: No module named "
            "'nowhere_to_be_found' (wrong.py:2).",
        ),
        (
            "wrong.py:X",
            "Importing wrong.py raised ModuleNotFoundError: No module named "
            "'nowhere_to_be_found' (wrong.py:2).",
        ),
        ("spelt:X", "Importing spelt raised SyntaxError: invalid syntax (spelt.py:2)."),
        ("spelt.py:X", "raised SyntaxError: invalid syntax (spelt.py:2)."),
        ("gone:X", "Importing gone raised SystemExit (gone.py:3)."),
        ("mine:Sized", "to need no arguments, got a class that needs size, mode."),
        ("mine:need", "to need no arguments, got a function that needs n."),
        ("mine:Failing", "raised ZeroDivisionError: division by zero (mine.py:23)."),
        ("mine:Lost", "Making mine:Lost raised IndexError: list index out of range (m"),
        ("mine:leave", "Making mine:leave raised SystemExit: leaving (mine.py:46)."),
        (
            "mine:NoStep",
            "Expected mine:NoStep to be an Environment or a gymnax "
            "environment, got NoStep, which lacks step.",
        ),
        ("mine:number", "got int, which lacks default_params, reset, step, "),
    ],
)
def test_what_cannot_be_loaded_is_one_line(env_id, message, folder):
    with pytest.raises(ValueError) as error:
        ppo.make(env_id)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_ids_of_suites_are_not_ones_own():
    assert not any(map(custom.is_own, ppo.env_ids()))


def test_a_failure_is_blamed_on_the_users_own_line(folder):
    (folder / "deep.py").write_text(
        "import json\n\n\ndef make():\n    json.loads('[')\n"
    )
    with pytest.raises(
        ValueError, match=r"raised JSONDecodeError: .* \(deep\.py:5\)\.$"
    ):
        ppo.make("deep:make")


def test_spaces_are_methods_and_environments_are_of_jax():
    class Attributes(probes.Counting):
        observation_space: Any = gymnasium.spaces.Box(0, 1, (1,))

    with pytest.raises(TypeError, match=r"^Expected env\.observation_space to be a "):
        adapt(Attributes())
    with pytest.raises(TypeError, match=r"lacks default_params and is not of JAX\.$"):
        adapt(gymnasium.make("CartPole-v1").unwrapped)


def test_an_unknown_environment_may_be_ones_own():
    with pytest.raises(ValueError, match=r"one's own is module:Object or file\.py:O"):
        ppo.make("mine.Walk")
