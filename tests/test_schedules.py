"""Schedules end exactly with the run, whatever the epochs and minibatches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import ConstantValue, CountingParams
from purejaxppo.algorithm.learning.shapes import (
    exponential,
    linear,
    piecewise,
    progress,
    staircase,
)
from purejaxppo.config.fields import replace
from tests.techniques import Walk, jit

CONFIG = ppo.Config(
    total_timesteps=5 * 8,
    num_envs=2,
    num_steps=4,
    network=ppo.NetworkConfig(widths=(4,)),
)


def test_progress_counts_updates():
    values = [float(progress(u, 4)) for u in range(7)]
    assert values == [0, 0.25, 0.5, 0.75, 1, 1, 1]


def test_linear_hits_its_ends_exactly():
    assert linear(jnp.float32(2.5e-4), 0.0, progress(0, 7)) == np.float32(2.5e-4)
    assert linear(jnp.float32(2.5e-4), 0.0, progress(7, 7)) == 0
    assert linear(1.0, 3.0, 0.25) == 1.5


def test_exponential_is_a_product_of_as_many_factors_as_updates():
    # XinJingHao: entropy_coef *= .99 after each update, from 1e-3.
    expected, coef = [], 1e-3
    for _ in range(300):
        expected.append(coef)
        coef *= 0.99
    np.testing.assert_allclose(
        exponential(1e-3, 0.99, jnp.arange(300)), expected, rtol=1e-5
    )
    assert exponential(1e-3, 0.99, 0) == np.float32(1e-3)


@pytest.mark.parametrize(
    "time, value",
    [(0, 0.01), (0.2, 0.01), (0.3, 0.0075), (0.4, 0.005), (0.6, 0.0025), (1, 0.0)],
)
def test_piecewise_by_hand(time, value):
    # RLlib's table [[t, c], ...]: lines between its rows, constant outside of them.
    row = piecewise((0.2, 0.4, 0.8), (0.01, 0.005, 0.0), time)
    np.testing.assert_allclose(row, value, atol=1e-9)


def test_staircase_falls_as_in_ppo_pytorch():
    # .6, less .05 every 250k steps, not below .1: there a loop over episodes of 1000.
    expected, std = [], 0.6
    for time in range(0, 4_000_000, 1000):
        if time and time % 250_000 == 0:
            std = max(round(std - 0.05, 4), 0.1)
        expected.append(std)
    times = jnp.arange(0, 4_000_000, 1000)
    sigma = staircase(0.6, 0.05, 250_000, 0.1, times)
    np.testing.assert_allclose(sigma, expected, rtol=1e-6)
    ends = [float(staircase(0.6, 0.05, 250_000, 0.1, t)) for t in (249_999, 250_000)]
    np.testing.assert_allclose(ends, [0.6, 0.55], rtol=1e-6)


@pytest.mark.parametrize("num_epochs, num_minibatches", [(1, 1), (3, 4)])
def test_a_run_decays_by_updates_and_not_by_optimizer_steps(
    num_epochs, num_minibatches
):
    changes = {
        "num_epochs": num_epochs,
        "num_minibatches": num_minibatches,
        "anneal_clip": True,
        "ent_coef": 0.05,
        "ent_schedule.final": 0.001,
        "ent_schedule.kind": "linear",
    }

    def run(learning_rate):
        config = replace(CONFIG, changes)
        config = dataclasses.replace(config, learning_rate=learning_rate)
        key = jax.random.key(0)
        start = ppo.make_ppo(config, ConstantValue()).init(key)
        return start.params, ppo.make_train(config, ConstantValue())(key)

    start, result = jax.jit(jax.vmap(run))(jnp.array([1e-3, 0.0]))
    left, metrics = 1 - np.arange(5) / 5, result.metrics
    rates = metrics.learning_rate[0]
    np.testing.assert_allclose(rates, 1e-3 * left, rtol=1e-6)
    assert rates[0] == np.float32(1e-3)
    assert rates[-1] == pytest.approx(1e-3 / 5)
    np.testing.assert_allclose(metrics.clip_eps[0], 0.2 * left, rtol=1e-6)
    np.testing.assert_allclose(metrics.ent_coef[0], 0.001 + 0.049 * left, rtol=1e-5)
    # A learning rate of 0 leaves the parameters.
    before, after = (
        jax.tree.map(lambda x: x[1], tree) for tree in (start, result.state.params)
    )
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_learning_rate_stays_without_annealing():
    config = dataclasses.replace(CONFIG, anneal_lr=False, learning_rate=1e-3)
    metrics = jax.jit(ppo.make_train(config, ConstantValue()))(
        jax.random.key(0)
    ).metrics
    np.testing.assert_array_equal(metrics.learning_rate, np.full(5, np.float32(1e-3)))
    assert metrics.clip_eps == () and metrics.ent_coef == ()


FOLLOWING = {
    "schedules": {
        "anneal_clip": True,
        "min_learning_rate": 3e-4,
        "ent_schedule": "exponential",
        "kl_penalty": {"target": 1e-9},
        "network.sigma": {"kind": "scheduled_sigma", "every": 8, "decay": 0.05},
    },
    "rules": {
        "anneal_lr": False,
        "kl_learning_rate": {"target": 1e-9},
        "ent_schedule": {"kind": "entropy_target", "target": -50.0},
        "kl_penalty": {"target": 1e-9},
    },
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_after_the_last_planned_update_no_number_moves_until_more_are_planned(name):
    config = replace(CONFIG, {"total_timesteps": 3 * 8, **FOLLOWING[name]})
    env = Walk()
    short = ppo.make_ppo(config, env, CountingParams(5))
    longer = dataclasses.replace(config, total_timesteps=9 * 8)
    long = ppo.make_ppo(longer, env, CountingParams(5))
    assert (short.num_updates, long.num_updates) == (3, 9)
    steps = jit(lambda state, on: jax.lax.cond(on, long.step, short.step, state))
    state, seen = jit(short.init)(jax.random.key(0)), []
    for update in range(9):
        moved = state.params
        state, metrics = steps(state, update >= 6)
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), moved, state.params)
        assert any(jax.tree.leaves(moved))  # It still learns, at the rate of the end.
        fields = "learning_rate", "ent_coef", "kl_coef", "clip_eps"
        numbers = [
            float(x) for k in fields for x in jax.tree.leaves(getattr(metrics, k))
        ]
        found = jax.tree_util.tree_leaves_with_path(state.params)
        sigma = [
            float(x[0]) for path, x in found if "log_std" in jax.tree_util.keystr(path)
        ]
        seen.append(numbers + (sigma if name == "schedules" else []))
    assert len(seen[0]) == {"schedules": 5, "rules": 3}[name]
    within, after, on = np.array(seen[:3]), np.array(seen[3:6]), np.array(seen[6:])
    assert (within[0] != within[2]).all()
    assert (after == after[0]).all()
    assert (on[-1] != after[0]).any(0).all()
