"""One update from a rollout on: what it adapts, rescales, recomputes and stores."""

import dataclasses
import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.algorithm.advantages.targets import init_advantage_scale
from purejaxppo.algorithm.components import collecting_reset, entropy_target, make_parts
from purejaxppo.algorithm.learning.objective import critic_loss
from purejaxppo.algorithm.learning.schedules import init_adaptive
from purejaxppo.algorithm.normalization.values import init_critic_scale, value_map
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.algorithm.update_step import Batch, Learned, learn
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace
from purejaxppo.networks.distributions import temper

CONFIG = ppo.Config(
    total_timesteps=10 * 24,
    num_envs=6,
    num_steps=4,
    num_epochs=3,
    num_minibatches=2,
    learning_rate=0.02,
    anneal_lr=False,
    max_grad_norm=None,
    gamma=0.9,
    network=ppo.NetworkConfig(widths=(4,), policy_gain=1.0),
)
OBS = jnp.float32(np.random.default_rng(0).normal(size=(24, 1)))
PARTS = make_parts(CONFIG, probes.Match(), None, None, None)
PARAMS = jax.jit(PARTS.network.init)(jax.random.key(3), OBS)


def actor(params):
    return PARTS.network.actor(params, OBS, ())[0]


def critic(params, obs=OBS):
    return PARTS.network.critic(params, obs, ())[0]


def make_batch(size=1.0):
    """A rollout by `PARAMS`, rewards of about `size`, ends of both kinds."""
    rng = np.random.default_rng(1)
    action = jnp.int32(rng.integers(0, 2, 24))
    terminated, truncated = jnp.asarray(rng.random((2, 4, 6)) < 0.2)
    steps = Transition(
        obs=(),
        action=action.reshape(4, 6),
        log_prob=actor(PARAMS).log_prob(action).reshape(4, 6),
        reward=size * jnp.float32(rng.normal(2, 1, (4, 6))),
        next_obs=(),
        terminated=terminated,
        truncated=truncated,
    )
    return Batch(obs=OBS, next_obs=jnp.roll(OBS, -6, 0) + 0.1, steps=steps)


def start_of(parts):
    config = parts.config
    return Learned(
        params=PARAMS,
        opt_state=parts.optimizer.init(PARAMS),
        critic_scale=init_critic_scale(config),
        advantage_scale=init_advantage_scale(config),
        adaptive=init_adaptive(config),
    )


def learned(config, number=5, size=1.0, loss=None):
    """What one update leaves, its report, and what it learned from."""
    parts = make_parts(config, probes.Match(), None, None, loss)
    number, key = jnp.int32(number), jax.random.key(0)
    return learn(key, parts, config, number, start_of(parts), make_batch(size))


# --- Numbers that follow ------------------------------------------------------------


def exact_kl(new):
    """E[KL(old ‖ new)] of `PARAMS` and other parameters."""
    old, new = (np.asarray(actor(p).logits, float) for p in (PARAMS, new))
    return (np.exp(old) * (old - new)).sum(1).mean()


@pytest.fixture(scope="module")
def adapting():
    """Updates at three learning rates and targets, number 0 in a warm-up of one."""
    changes = {
        "kl_penalty": {"coef": 0.5, "target": 3e-3},
        "ent_coef": 0.02,
        "ent_schedule": {"kind": "entropy_target", "step": 0.1},
        "critic_warmup": 1,
        # The KL is from the policy itself, whatever it was sampled at: else a policy
        # that stands would be far from it, and the penalty rise for ever.
        "temperature": 3.0,
    }

    def run(learning_rate, target, number):
        schedule = t.EntropyTarget(target=target, step=0.1)
        config = dataclasses.replace(
            replace(CONFIG, changes), learning_rate=learning_rate, ent_schedule=schedule
        )
        result, report, _ = learned(config, number)
        return result, report

    rates, targets = jnp.array([0.0, 1e-3, 0.1]), jnp.array([0.2, 0.6, 2.0])
    go = jax.jit(jax.vmap(run, in_axes=(0, 0, None)))
    return [go(rates, targets, jnp.int32(number)) for number in (0, 1)]


def test_the_penalty_follows_the_kl_of_the_whole_update_once(adapting):
    result, _ = adapting[1]
    coefs, kls = [], []
    for i in range(3):
        kl = exact_kl(jax.tree.map(lambda x, i=i: x[i], result.params))
        kls.append(kl)
        # The paper's rule, from β = ½ at a target of .003.
        coefs.append(0.25 if kl < 0.002 else 1.0 if kl > 0.0045 else 0.5)
    np.testing.assert_allclose(result.adaptive.kl_coef, coefs)
    # Not to be seen in TensorLayer's code, whose β never moves: it falls where nothing
    # happens and rises after a large step.
    assert kls[0] < 1e-6 and coefs[0] == 0.25 and coefs[2] == 1


def test_the_entropy_bonus_follows_the_entropy_once(adapting):
    result, report = adapting[1]
    entropy = np.asarray(report.diagnostics.entropy)
    expected = math.log(0.02) - 0.1 * (entropy - [0.2, 0.6, 2.0])
    np.testing.assert_allclose(result.adaptive.log_ent_coef, expected, rtol=1e-5)
    # Above the first target it falls, below the last it rises.
    change = result.adaptive.log_ent_coef - math.log(0.02)
    assert change[0] < -0.01 and change[2] > 0.01


def test_numbers_stand_while_the_critic_warms_up(adapting):
    result, _ = adapting[0]
    np.testing.assert_array_equal(result.adaptive.kl_coef, [0.5] * 3)
    np.testing.assert_allclose(
        result.adaptive.log_ent_coef, [math.log(0.02)] * 3, rtol=1e-6
    )
    for name, part in result.params.items():
        still = jax.tree.map(lambda x, y: np.array_equal(x[2], y), part, PARAMS[name])
        assert all(jax.tree.leaves(still)) == (name in ("actor_torso", "policy"))


@pytest.mark.parametrize(
    "space, given, policy, target",
    [
        (gymnasium.spaces.Discrete(4), None, "gaussian", 0.98 * math.log(4)),
        (gymnasium.spaces.Discrete(4), 0.5, "gaussian", 0.5),
        (gymnasium.spaces.Box(-1, 1, (2, 3)), None, "gaussian", -6),
        (gymnasium.spaces.Box(-1, 1, (2, 3)), 0.5, "gaussian", 0.5),
        # The same shape of density over twice the width: ln 2 more a dimension. A Beta
        # is over [0, 1], half the width of [−1, 1].
        (gymnasium.spaces.Box(-2, 2, (2,)), None, "gaussian", 2 * math.log(2) - 2),
        (gymnasium.spaces.Box(-2, 2, (2,)), None, "beta", -2 * math.log(2) - 2),
        (gymnasium.spaces.Box(-np.inf, np.inf, (2,)), None, "gaussian", -2),
    ],
)
def test_the_entropy_to_aim_at(space, given, policy, target):
    rule = t.EntropyTarget(target=given)
    config = replace(CONFIG, {"ent_schedule": rule, "network.policy": policy})
    assert entropy_target(config, space) == pytest.approx(target)
    assert entropy_target(CONFIG, space) == ()


def test_an_entropy_above_the_greatest_is_refused():
    config = replace(CONFIG, {"ent_schedule.target": 0.7})
    expected = (
        r"^Expected ent_schedule.target to be at most the 0\.693 nats of "
        r"Discrete\(2\), got 0\.7\.$"
    )
    with pytest.raises(ValueError, match=expected):
        ppo.make_ppo(config, probes.Match())


# --- Units --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def units():
    """An update without a step in several units, from rewards of about 100."""
    changes = {
        "pop_art": {"normalize_value": "pop_art"},
        "running_mean_std": {"normalize_value": {"kind": "running_mean_std"}},
        "running_std": {"normalize_value": "running_std"},
        "symlog": {"transform_value": "symlog"},
        "plain": {},
        "mean_absolute": {
            "normalize_advantage": None,
            "scale_advantage": "mean_absolute",
        },
    }
    configs = {
        name: replace(CONFIG, {**change, "learning_rate": 0.0})
        for name, change in changes.items()
    }
    run = jax.jit(lambda: {k: learned(c, size=50.0)[::2] for k, c in configs.items()})
    return configs, run()


def decoded(config, result, output):
    values = value_map(config, result.critic_scale)
    return output if values is None else values.decode(output)


def test_pop_art_keeps_what_the_critic_says(units):
    config, (result, _) = units[0]["pop_art"], units[1]["pop_art"]
    before, after = critic(PARAMS), critic(result.params)
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(
        decoded(config, result, after), before, rtol=1e-3, atol=1e-3
    )
    # It is the last layer of the critic that changes, and nothing else.
    same = jax.tree.map(np.array_equal, result.params, PARAMS)
    value = same.pop("value")
    assert all(jax.tree.leaves(same)) and not any(jax.tree.leaves(value))


@pytest.mark.parametrize("name", ["pop_art", "running_mean_std", "running_std"])
def test_a_critic_learns_targets_of_about_1(units, name):
    config, (result, data) = units[0][name], units[1][name]
    real = units[1]["plain"][1]
    target = decoded(config, result, data.target)
    # Outputs were the values before there were statistics.
    np.testing.assert_allclose(target, real.target, rtol=1e-3)
    np.testing.assert_allclose(data.advantage, real.advantage, rtol=1e-3, atol=1e-2)
    assert real.target.std() > 20 and 0.9 < data.target.std() < 1.1
    value = critic(result.params) if name == "pop_art" else data.value
    np.testing.assert_allclose(data.value, value, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        decoded(config, result, data.value), critic(PARAMS), rtol=1e-3, atol=1e-2
    )


def test_squashed_values_are_decoded_for_advantages_and_encoded_to_learn(units):
    data = units[1]["symlog"][1]
    np.testing.assert_allclose(data.value, critic(PARAMS), rtol=1e-4, atol=1e-5)
    # The target is A + V in real units.
    output = np.asarray(critic(PARAMS))
    value = np.sign(output) * np.expm1(np.abs(output))
    target = np.asarray(data.advantage) + value
    np.testing.assert_allclose(
        data.target, np.sign(target) * np.log1p(np.abs(target)), rtol=1e-4
    )


def test_advantages_are_scaled_by_what_they_were_first_seen_as(units):
    data, real = units[1]["mean_absolute"][1], units[1]["plain"][1]
    size = np.abs(real.advantage).mean()
    np.testing.assert_allclose(data.advantage, real.advantage / size, rtol=1e-4)
    np.testing.assert_allclose(data.target, real.target, rtol=1e-5)


# --- Advantages anew ----------------------------------------------------------------


def advantages_by_loop(value, next_value):
    """GAE of the rollout, step by step."""
    steps, following, result = make_batch().steps, jnp.zeros(6), []
    value, next_value = value.reshape(4, 6), next_value.reshape(4, 6)
    for i in reversed(range(4)):
        goes_on = 1.0 - steps.terminated[i]
        delta = steps.reward[i] + 0.9 * goes_on * next_value[i] - value[i]
        same_episode = goes_on * (1.0 - steps.truncated[i])
        following = delta + 0.9 * 0.95 * same_episode * following
        result.append(following)
    return jnp.stack(result[::-1]).reshape(-1)


def spy(config, network, params, batch):
    """The critic's loss, with how far off the newest critic's estimates are."""
    _, found = ppo.ppo_loss(config, network, params, batch)
    value = critic(params)
    advantage = advantages_by_loop(value, critic(params, make_batch().next_obs))
    off = [batch.value - value, batch.advantage - advantage]
    off.append(batch.target - advantage - value)
    worst = [jnp.abs(x).max() for x in off]
    found = found._replace(approx_kl=worst[0], clip_fraction=worst[1], entropy=worst[2])
    return critic_loss(config, network, params, batch), found


def test_estimates_are_made_anew_by_the_newest_critic_before_each_epoch():
    changes = {"num_minibatches": 1, "shuffle": "none", "normalize_advantage": None}
    config = replace(CONFIG, changes)
    anew = replace(config, {"recompute_advantages": True})

    @jax.jit
    def run():
        return [learned(c, loss=spy)[:2] for c in (config, anew)]

    (_, stale), (after, fresh) = run()
    for name in ("approx_kl", "clip_fraction", "entropy"):
        # Means over three epochs, of which the first has the rollout's estimates.
        assert getattr(stale.diagnostics, name) > 1e-3
        assert getattr(fresh.diagnostics, name) < 1e-5
    # Were the target V + A of parameters that learn, the loss would have no gradient.
    assert fresh.grad_norm > 0.1
    moved = np.abs(after.params["value"]["bias"] - PARAMS["value"]["bias"])
    # Three steps of an Adam that sees about the same gradient.
    np.testing.assert_allclose(moved, 3 * 0.02, rtol=0.05)


# --- TRPO ---------------------------------------------------------------------------

HARD = {
    "trpo": True,
    "clip_eps": None,
    "ent_coef": 0.0,
    "normalize_advantage": "batch",
}


def test_a_trust_region_step_keeps_to_its_bound():
    def run(max_kl):
        trpo = t.TRPO(max_kl=max_kl)
        return learned(dataclasses.replace(replace(CONFIG, HARD), trpo=trpo))

    bounds = jnp.array([1e-3, 1e-2, 0.1])
    alone = jax.jit(run)(bounds[1])
    result, report, data = jax.jit(jax.vmap(run))(bounds)
    found = report.diagnostics
    for i, bound in enumerate(np.asarray(bounds)):
        params = jax.tree.map(lambda x, i=i: x[i], result.params)
        kl = exact_kl(params)
        assert 0.3 * bound < kl <= 1.001 * bound
        np.testing.assert_allclose(found.policy_kl[i], kl, rtol=1e-2)
        # E[ρ A] has risen from that of ρ = 1, of standardised advantages: 0.
        ratio = np.exp(actor(params).log_prob(data.action[i]) - data.log_prob[i])
        advantage = np.asarray(data.advantage[i])
        gain = (ratio * (advantage - advantage.mean()) / advantage.std()).mean()
        assert gain > 0.15 * np.sqrt(bound)
        np.testing.assert_allclose(found.policy_loss[i], -gain, rtol=1e-3)
    one = jax.tree.map(lambda x: x[1], (result.params, report))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4),
        one,
        (alone[0].params, alone[1]),
    )
    # Three epochs of two minibatches are the critic's alone, in steps of about .02.
    moved = np.abs(one[0]["value"]["bias"] - PARAMS["value"]["bias"])
    assert 0.06 < moved[0] < 0.13


def test_trpo_learns_at_any_temperature_of_sampling():
    changes = {
        **HARD,
        "trpo.max_kl": 0.03,
        "total_timesteps": 25 * 128,
        "num_envs": 16,
        "num_steps": 8,
        "num_epochs": 1,
        "num_minibatches": 1,
        "gamma": 0.0,
    }

    def run(temperature):
        config = replace(CONFIG, changes)
        config = dataclasses.replace(config, temperature=temperature)
        result = ppo.make_train(config, probes.Match())(jax.random.key(0))
        parts = ppo.make_ppo(config, probes.Match())
        obs = jnp.array([[-1.0], [1.0]])
        policy, _ = parts.network.actor(result.state.params, obs, ())
        right = jnp.exp(policy.log_prob(jnp.array([0, 1])))
        return result.metrics, right

    metrics, right = jax.jit(jax.vmap(run))(jnp.array([1.0, 2.0]))
    assert (metrics.policy_kl <= 0.03 * 1.001).all()
    assert (metrics.policy_kl[:, :10] > 0.005).all()
    # From tossing coins to the right answers, also by a policy that samples at 2.
    assert (right > 0.95).all()
    assert metrics.episode_return[0, -3:].mean() > 0.95


# --- Collection ---------------------------------------------------------------------


class Noisy(probes.Match):
    """Episodes of two steps; each shows a number of its own, the start's first."""

    def reset(self, key, params):
        start = jax.random.uniform(key, (1,), minval=-1.0)
        return start, (start, start, jnp.int32(0))

    def step(self, key, state, action, params):
        noise, time = jax.random.uniform(key, (1,), minval=-1.0), state[2] + 1
        return ppo.Step(
            obs=noise,
            state=(state[0], noise, time),
            reward=noise[0],
            terminated=time == 2,
            truncated=jnp.bool_(False),
            info={},
        )


def off_the_stored(config, network, params, batch):
    """The loss, with how far stored log-probabilities are from the tempered ones."""
    loss, found = ppo.ppo_loss(config, network, params, batch)
    policy, _ = network.actor(params, batch.obs, ())
    off = [
        jnp.abs(d.log_prob(batch.action) - batch.log_prob).max()
        for d in (temper(policy, 2.0), policy)
    ]
    return loss, found._replace(approx_kl=off[0], clip_fraction=off[1])


def test_tempered_log_probabilities_are_stored_and_starts_are_few():
    changes = {
        "temperature": 2.0,
        "num_starts": 3,
        "num_envs": 32,
        "num_steps": 3,
        "total_timesteps": 960,
        "num_epochs": 1,
        "num_minibatches": 1,
        "network.policy_gain": 3.0,
    }
    parts = ppo.make_ppo(replace(CONFIG, changes), Noisy(), loss=off_the_stored)
    run = jax.jit(jax.vmap(lambda key: parts.step(parts.init(key))))
    state, metrics = run(jax.random.split(jax.random.key(0), 2))
    # DI-engine stores those of the policy itself.
    assert (metrics.approx_kl < 1e-5).all() and (metrics.clip_fraction > 0.1).all()
    # Each environment is in the second step of an episode that began in one of three.
    start, noise, time = map(np.asarray, state.collector.now.state)
    assert (time == 1).all() and len(np.unique(start)) == 3
    assert len(np.unique(start[0])) == len(np.unique(start[1])) == 3
    assert len(np.unique(noise)) == 64


@pytest.mark.parametrize("num_starts", [1, 4, None])
def test_fixed_starts_are_the_same_for_all_seeds(num_starts):
    config = replace(CONFIG, {"num_starts": num_starts})
    parts = make_parts(config, probes.Identity(), None, None, None)
    reset = jax.jit(jax.vmap(collecting_reset(parts)))
    seen = []
    for seed in range(2):
        starts = reset(jax.random.split(jax.random.key(seed), 200))
        rows, counts = np.unique(starts.obs, axis=0, return_counts=True)
        seen.append(rows)
        assert len(rows) == (num_starts or 200)
        assert num_starts is None or counts.min() > 100 / num_starts
    assert np.array_equal(*seen) == (num_starts is not None)
