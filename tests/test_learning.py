"""Learning on real tasks, judged over seeds."""

import jax
import numpy as np
import pytest
import scipy.stats

import purejaxppo as ppo

OPTIMIZED = True
pytestmark = pytest.mark.slow


def returns(env_id, num_seeds, config):
    train = jax.jit(jax.vmap(ppo.make_train(config, *ppo.make(env_id))))
    metrics = train(jax.random.split(jax.random.key(0), num_seeds)).metrics
    assert metrics.finite.all()
    return np.asarray(metrics.episode_return)


def interquartile_mean(curves):
    return scipy.stats.trim_mean(np.nanmean(curves, axis=1), 0.25)


def test_cartpole():
    curves = returns("CartPole-v1", 8, ppo.Config(total_timesteps=65_000))
    tenth = curves.shape[1] // 10
    assert interquartile_mean(curves[:, :tenth]) < 150
    assert interquartile_mean(curves[:, -tenth:]) > 250


def test_pendulum_with_normalization():
    config = ppo.Config(
        total_timesteps=65_000,
        num_envs=8,
        num_steps=128,
        num_epochs=10,
        num_minibatches=8,
        learning_rate=1e-3,
        gamma=0.9,
        ent_coef=0.0,
        normalize_observation=ppo.ObservationNormalization(),
        normalize_reward=ppo.RewardNormalization(),
    )
    curves = returns("Pendulum-v1", 4, config)
    tenth = curves.shape[1] // 10
    first = interquartile_mean(curves[:, :tenth])
    last = interquartile_mean(curves[:, -tenth:])
    assert first < -1000
    assert last > -500
