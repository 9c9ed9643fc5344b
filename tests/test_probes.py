"""Probes with known answers, each learned in seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.config.fields import replace

CONFIG = ppo.Config(
    total_timesteps=150 * 16 * 10,
    num_envs=16,
    num_steps=10,
    num_epochs=4,
    num_minibatches=2,
    learning_rate=1e-2,
    max_grad_norm=None,
    gamma=0.9,
    network=ppo.NetworkConfig(widths=(16, 16)),
)


def learn(env, params=None, **changes):
    config = replace(CONFIG, changes)
    parts = ppo.make_ppo(config, env, params)
    result = jax.jit(ppo.make_train(config, env, params))(jax.random.key(0))
    assert result.metrics.finite.all()
    return result, parts


def values(result, parts, obs):
    value, _ = parts.network.critic(result.state.params, jnp.array(obs)[:, None], ())
    return np.asarray(value)


def test_a_constant_value():
    result, parts = learn(probes.ConstantValue())
    np.testing.assert_allclose(values(result, parts, [0.0]), [1], atol=0.1)


def test_discounting():
    result, parts = learn(probes.Discounting())
    np.testing.assert_allclose(values(result, parts, [0.0, 1.0]), [0.9, 1], atol=0.1)


@pytest.mark.parametrize("terminates", [False, True], ids=["truncates", "terminates"])
def test_a_cut_episode_goes_on_in_the_value(terminates):
    env, params = probes.Cut(terminates), probes.CountingParams(5)
    result, parts = learn(env, params, total_timesteps=400 * 160)
    left = 5 - np.arange(5)
    expected = (1 - 0.9**left) / (1 - 0.9) if terminates else np.full(5, 10.0)
    obs = [0.0, 0.2, 0.4, 0.6, 0.8]
    np.testing.assert_allclose(values(result, parts, obs), expected, atol=0.1)


def test_the_policy_takes_the_rewarded_action():
    result, parts = learn(probes.Match(), total_timesteps=50 * 160)
    action, _ = parts.act(result.state, jnp.array([[-1.0], [1.0]]))
    np.testing.assert_array_equal(action, [0, 1])
    assert result.metrics.episode_return[-5:].mean() > 0.95


def test_a_continuous_policy_answers_what_it_sees():
    result, parts = learn(probes.Identity(), ent_coef=0.0)
    obs = jnp.array([[-0.8, 0.8], [0.0, 0.5], [0.5, -0.3]])
    np.testing.assert_allclose(parts.act(result.state, obs)[0], obs, atol=0.2)
    assert result.metrics.episode_return[-5:].mean() > -0.2
