"""Every gymnax environment makes, keeps its spaces, and can be rolled out."""

import sys

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from purejaxppo.environments import make_reset, make_step

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
