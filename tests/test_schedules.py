"""Schedules end exactly with the run, whatever the epochs and minibatches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import ConstantValue
from purejaxppo.schedules import linear, progress

CONFIG = ppo.Config(total_timesteps=5 * 8, num_envs=2, num_steps=4)


def test_progress_counts_updates():
    values = [float(progress(u, 4)) for u in range(5)]
    assert values == [0, 0.25, 0.5, 0.75, 1]


def test_linear_hits_its_ends_exactly():
    assert linear(jnp.float32(2.5e-4), 0.0, progress(0, 7)) == np.float32(2.5e-4)
    assert linear(jnp.float32(2.5e-4), 0.0, progress(7, 7)) == 0
    assert linear(1.0, 3.0, 0.25) == 1.5


@pytest.mark.parametrize("num_epochs, num_minibatches", [(1, 1), (3, 4)])
def test_learning_rate_of_a_run(num_epochs, num_minibatches):
    config = dataclasses.replace(
        CONFIG,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
        learning_rate=1e-3,
    )
    train = ppo.make_train(config, ConstantValue())
    rates = jax.jit(train)(jax.random.key(0)).metrics.learning_rate
    np.testing.assert_allclose(rates, 1e-3 * (1 - np.arange(5) / 5), rtol=1e-6)
    assert rates[0] == np.float32(1e-3)
    assert rates[-1] == pytest.approx(1e-3 / 5)


def test_learning_rate_stays_without_annealing():
    config = dataclasses.replace(CONFIG, anneal_lr=False, learning_rate=1e-3)
    metrics = jax.jit(ppo.make_train(config, ConstantValue()))(
        jax.random.key(0)
    ).metrics
    np.testing.assert_array_equal(metrics.learning_rate, np.full(5, np.float32(1e-3)))


def test_a_learning_rate_of_0_leaves_the_parameters():
    config = dataclasses.replace(CONFIG, learning_rate=0.0)
    parts = ppo.make_ppo(config, ConstantValue())
    state = jax.jit(parts.init)(jax.random.key(0))
    after, _ = jax.jit(parts.step)(state)
    jax.tree.map(np.testing.assert_array_equal, state.params, after.params)
