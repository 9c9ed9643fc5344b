"""The numbers of an update: schedules of the config, and rules that follow a target."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from purejaxppo.algorithm.learning.schedules import (
    Adaptive,
    at_update,
    follow_entropy,
    follow_kl,
    follow_learning_rate,
    init_adaptive,
    sigma_at,
)
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace

CONFIG = ppo.Config(total_timesteps=10 * 8, num_envs=2, num_steps=4, ent_coef=0.05)
LEFT = 1 - np.arange(10) / 10


def over_the_run(read, adaptive=None, updates=None, **changes: Any):
    """`read` of the config at each of the ten updates, or at others."""
    config = replace(CONFIG, changes)
    adaptive = adaptive or init_adaptive(config)
    values = jax.vmap(lambda u: read(at_update(config, adaptive, u)))
    return jax.tree.map(np.asarray, values(jnp.array(updates or range(10))))


def test_an_annealed_learning_rate_stops_at_its_floor():
    rates = over_the_run(
        lambda c: c.learning_rate, learning_rate=1e-3, min_learning_rate=4e-4
    )
    np.testing.assert_allclose(rates, np.maximum(1e-3 * LEFT, 4e-4), rtol=1e-6)
    assert (rates[-3:] == np.float32(4e-4)).all() and rates[5] > 4e-4


def test_the_rates_of_groups_are_annealed_alike():
    changes = {
        "actor_optimizer.learning_rate": 3e-3,
        "critic_optimizer.adam_eps": 1e-6,
        "min_learning_rate": 1e-3,
        "learning_rate": 2e-3,
    }
    rates = over_the_run(lambda c: c.actor_optimizer.learning_rate, **changes)
    np.testing.assert_allclose(rates, np.maximum(3e-3 * LEFT, 1e-3), rtol=1e-6)
    first = at_update(replace(CONFIG, changes), Adaptive(), jnp.int32(0))
    assert first.critic_optimizer is not None and first.shared_optimizer is None
    assert first.critic_optimizer.learning_rate is None
    constant = over_the_run(
        lambda c: c.actor_optimizer.learning_rate,
        **{"actor_optimizer.learning_rate": 3e-3, "anneal_lr": False},
    )
    assert (constant == np.float32(3e-3)).all()


def test_the_clip_ends_with_the_run():
    clip = over_the_run(lambda c: c.clip_eps, anneal_clip=True)
    np.testing.assert_allclose(clip, 0.2 * LEFT, rtol=1e-6)
    assert at_update(CONFIG, Adaptive(), jnp.int32(7)).clip_eps == 0.2


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (t.Linear(0.001), 0.001 + 0.049 * LEFT),
        (t.Exponential(0.9), 0.05 * 0.9 ** np.arange(10)),
        (
            # Half the way to 2 at .1, 2 at .2, half the way to .4 at .5, .4 from .8 on.
            t.Piecewise((0.0, 0.2, 0.8), (1.0, 2.0, 0.4)),
            [0.05, 0.075, 0.1]
            + [0.1 - 0.08 * i / 6 for i in range(1, 6)]
            + [0.02, 0.02],
        ),
        (None, np.full(10, 0.05)),
    ],
    ids=["linear", "exponential", "piecewise", "constant"],
)
def test_entropy_coefficients(schedule, expected):
    coef = over_the_run(lambda c: jnp.float32(c.ent_coef), ent_schedule=schedule)
    np.testing.assert_allclose(coef, expected, rtol=1e-5)


def numbers(config):
    """All that a config's schedules change."""
    return {
        "learning_rate": jnp.float32(config.learning_rate),
        "actor": jnp.float32(config.actor_optimizer.learning_rate),
        "clip_eps": jnp.float32(config.clip_eps),
        "ent_coef": jnp.float32(config.ent_coef),
    }


@pytest.mark.parametrize(
    "schedule",
    [
        t.Linear(0.001),
        t.Exponential(0.9),
        t.Piecewise((0.1, 0.9), (1.0, 0.5)),
    ],
    ids=["linear", "exponential", "piecewise"],
)
@pytest.mark.parametrize("floor", [None, 1e-4])
def test_every_schedule_stays_at_its_end(schedule, floor):
    changes = {
        "ent_schedule": schedule,
        "anneal_clip": True,
        "min_learning_rate": floor,
        "actor_optimizer.learning_rate": 3e-3,
    }
    updates = [9, 10, 11, 12, 1000]
    after = over_the_run(numbers, updates=updates, **changes)
    for name, values in after.items():
        assert (values[1:] == values[1]).all() and (values >= 0).all(), name
    for name in ("learning_rate", "actor"):
        assert after[name][1] == np.float32(floor or 0)
    assert after["clip_eps"][1] == 0
    end = {t.Linear: 0.001, t.Exponential: 0.05 * 0.9**10, t.Piecewise: 0.025}
    np.testing.assert_allclose(after["ent_coef"][1], end[type(schedule)], rtol=1e-5)
    sigma = t.ScheduledSigma(initial=0.6, decay=0.02, every=8, minimum=0.1)
    values = [float(sigma_at(CONFIG, sigma, jnp.int32(u))) for u in updates]
    np.testing.assert_allclose(values, [0.42, 0.4, 0.4, 0.4, 0.4], rtol=1e-6)


def test_numbers_that_follow_are_those_carried():
    changes = {
        "ent_schedule": "entropy_target",
        "kl_penalty": {"coef": 0.2},
        "kl_learning_rate": True,
        "anneal_lr": False,
    }
    start = init_adaptive(replace(CONFIG, changes))
    np.testing.assert_allclose(jnp.stack(start), [5e-4, 0.2, math.log(0.05)], rtol=1e-6)
    later = Adaptive(*map(jnp.float32, (3e-3, 7.0, math.log(0.3))))
    read = lambda c: (c.learning_rate, c.kl_penalty.coef, c.ent_coef)  # noqa: E731
    for adaptive, expected in ((start, [5e-4, 0.2, 0.05]), (later, [3e-3, 7, 0.3])):
        numbers = over_the_run(read, adaptive, **changes)
        np.testing.assert_allclose(numbers, np.tile(expected, (10, 1)).T, rtol=1e-5)


def test_nothing_is_carried_where_nothing_follows():
    assert init_adaptive(CONFIG) == ((), (), ())
    fixed = {"kl_penalty": {"adaptive": False, "coef": 0.3}, "ent_schedule": "linear"}
    assert init_adaptive(replace(CONFIG, fixed)) == ((), (), ())
    coef = over_the_run(lambda c: jnp.float32(c.kl_penalty.coef), **fixed)
    assert (coef == np.float32(0.3)).all()


def test_sigma_falls_by_environment_steps():
    # Eight steps an update: 25 of them are over at update 4 (32), 50 at update 7 (56).
    sigma = t.ScheduledSigma(initial=0.6, decay=0.2, every=25, minimum=0.3)
    values = jax.vmap(lambda u: sigma_at(CONFIG, sigma, u))(jnp.arange(10))
    np.testing.assert_allclose(values, [0.6] * 4 + [0.4] * 3 + [0.3] * 3, rtol=1e-6)


def paper(beta, kl):
    return beta / 2 if kl < 0.01 / 1.5 else beta * 2 if kl > 0.01 * 1.5 else beta


def rllib(beta, kl):
    return beta * 1.5 if kl > 2 * 0.01 else beta * 0.5 if kl < 0.5 * 0.01 else beta


def morvan(beta, kl):
    beta = beta / 2 if kl < 0.01 / 1.5 else beta * 2 if kl > 0.01 * 1.5 else beta
    return min(max(beta, 1e-4), 10.0)


def seeds(beta, kl, kl_min=0.003, kl_max=0.02):
    return beta * 3 if kl > kl_max else beta / 4 if kl < kl_min else beta


@pytest.mark.parametrize(
    "rule, published",
    [
        (t.KLPenalty(), paper),
        (t.KLPenalty(coef=0.2, high=2.0, low=0.5, up=1.5, down=0.5), rllib),
        (t.KLPenalty(coef=0.5, min=1e-4, max=10.0), morvan),
        (t.KLPenalty(target=1.0, high=0.02, low=0.003, up=3.0, down=0.25), seeds),
    ],
    ids=["paper", "rllib", "morvan", "seeds"],
)
@pytest.mark.parametrize(
    "typical, direction", [(0.1, 1), (1e-4, -1), (0.01, 0)], ids=["far", "near", "mix"]
)
def test_the_penalty_follows_the_kl(rule, published, typical, direction):
    # Ups and downs about the target; far and near of it only, up to the bounds.
    spread = 5.0 if direction == 0 else 1.1
    kls = typical * spread ** np.random.default_rng(0).uniform(-1, 1, 40)
    expected, beta = [], rule.coef
    for kl in kls:
        beta = published(beta, kl)
        expected.append(beta)
        if not 1e-9 < beta < 1e9:
            break

    def follow(coef, kl):
        coef = follow_kl(rule, coef, kl)
        return coef, coef

    _, coefs = jax.lax.scan(follow, jnp.float32(rule.coef), jnp.float32(kls))
    np.testing.assert_allclose(coefs[: len(expected)], expected, rtol=1e-5)
    # TensorLayer's penalty compares a name that is never passed and so never moves.
    assert len(np.unique(coefs)) > 1
    assert direction * (coefs[0] - rule.coef) >= 0


def test_the_penalty_stays_within_bounds():
    rule, none = t.KLPenalty(), jnp.float32(0)
    assert follow_kl(rule, jnp.float32(8e9), jnp.float32(1)) == np.float32(1e10)
    assert follow_kl(rule, jnp.float32(1.5e-10), none) == np.float32(1e-10)
    assert follow_kl(rule, jnp.float32(3), jnp.float32(jnp.nan)) == 3


def rl_games(rate, kl, threshold=0.008):
    if kl > 2 * threshold:
        rate = max(rate / 1.5, 1e-6)
    if kl < 0.5 * threshold:
        rate = min(rate * 1.5, 1e-2)
    return rate


@pytest.mark.parametrize("kl, end", [(0.1, 1e-6), (1e-3, 1e-2), (0.008, 3e-4)])
def test_the_learning_rate_follows_the_kl_as_in_rl_games(kl, end):
    rate, expected = jnp.float32(3e-4), 3e-4
    for _ in range(20):
        rate = follow_learning_rate(t.KLLearningRate(), rate, jnp.float32(kl))
        expected = rl_games(expected, kl)
        np.testing.assert_allclose(rate, expected, rtol=1e-5)
    np.testing.assert_allclose(rate, end, rtol=1e-6)


@pytest.mark.parametrize(
    "kl, factor",
    [(0.0161, 1 / 1.5), (0.0159, 1), (0.0041, 1), (0.0039, 1.5)],
)
def test_the_bounds_of_rl_games(kl, factor):
    rate = follow_learning_rate(t.KLLearningRate(), jnp.float32(3e-4), jnp.float32(kl))
    np.testing.assert_allclose(rate, 3e-4 * factor, rtol=1e-6)


def test_the_entropy_bonus_rises_below_its_target_and_falls_above():
    # ln c − .1 (H − .5): with H = .3 it rises by .02, with H = 1.5 it falls by .1.
    start = jnp.float32(math.log(0.01))
    rule, entropies = t.EntropyTarget(step=0.1, max=2.0), jnp.array([0.3, 1.5, 0.5])
    after = follow_entropy(rule, start, entropies, 0.5)
    np.testing.assert_allclose(
        jnp.exp(after), 0.01 * np.exp([0.02, -0.1, 0]), rtol=1e-5
    )
    # From 1.99 it would rise by two hundredths of itself, and is bounded by 2.
    after = follow_entropy(rule, jnp.log(1.99), entropies, 0.5)
    np.testing.assert_allclose(
        jnp.exp(after), [2, 1.99 * math.exp(-0.1), 1.99], rtol=1e-5
    )
