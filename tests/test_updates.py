"""The loss on a batch, the first ratio of an update, and a user's own loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.fields import replace

CONFIG = ppo.Config(
    total_timesteps=4 * 32,
    num_envs=4,
    num_steps=8,
    num_epochs=1,
    num_minibatches=1,
    learning_rate=1e-2,
    network=ppo.NetworkConfig(widths=(8,)),
)


def largest_log_ratio(config, network, params, batch):
    """PPO's loss, with the largest |log ratio| in the place of the KL."""
    loss, diagnostics = ppo.ppo_loss(config, network, params, batch)
    distribution, _ = network.actor(params, batch.obs, ())
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    return loss, diagnostics._replace(approx_kl=jnp.abs(log_ratio).max())


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize(
    "env, params",
    [
        (probes.Counting(), probes.CountingParams(3)),
        (probes.Cut(), probes.CountingParams(5)),
        (probes.Identity(), probes.NoParams()),
    ],
    ids=["terminating", "truncating", "box"],
)
def test_the_first_ratio_of_every_update_is_1(env, params, normalize):
    config = replace(CONFIG, {"normalize_observation": normalize})
    train = ppo.make_train(config, env, params, loss=largest_log_ratio)
    metrics = jax.jit(train)(jax.random.key(0)).metrics
    assert metrics.episode_return.shape == (4,)
    assert (metrics.num_episodes > 0).all()
    np.testing.assert_allclose(metrics.approx_kl, 0, atol=1e-5)
    np.testing.assert_array_equal(metrics.clip_fraction, 0)


def test_the_ratio_moves_afterwards():
    config = replace(CONFIG, {"num_epochs": 4})
    metrics = jax.jit(ppo.make_train(config, probes.Match()))(jax.random.key(0)).metrics
    assert (metrics.approx_kl > 1e-7).all()


class Fixed:
    """A distribution of given log-probabilities and entropy."""

    def __init__(self, log_probs, entropies):
        self.log_probs, self.entropies = log_probs, entropies

    def log_prob(self, action):
        return self.log_probs

    def entropy(self):
        return self.entropies


def test_loss_by_hand():
    # Ratios 1.5 and .5 with advantages 1 and −1: min(1.5, 1.2) and min(−.5, −.8), so
    # the policy loss is −(1.2 − .8) / 2 = −.2. Values 1, 3 against 2, 3: ½ · ½ = .25.
    # Total −.2 + .5 · .25 − .1 · .7 = −.145. KL: mean of ρ − 1 − ln ρ.
    log_ratio = jnp.log(jnp.array([1.5, 0.5]))
    network = ppo.ActorCritic(
        init=lambda key, obs: (),
        actor=lambda params, obs, memory: (
            Fixed(log_ratio - 1, jnp.array([0.6, 0.8])),
            memory,
        ),
        critic=lambda params, obs, memory: (jnp.array([1.0, 3.0]), memory),
    )
    batch = ppo.Minibatch(
        obs=jnp.zeros((2, 1)),
        action=jnp.zeros(2),
        log_prob=-jnp.ones(2),
        value=jnp.array([0.0, 3.0]),
        advantage=jnp.array([1.0, -1.0]),
        target=jnp.array([2.0, 3.0]),
    )
    config = replace(CONFIG, {"ent_coef": 0.1, "vf_coef": 0.5})
    loss, diagnostics = ppo.ppo_loss(config, network, (), batch)
    np.testing.assert_allclose(loss, -0.145, rtol=1e-5)
    kl = (0.5 - np.log(1.5) + -0.5 - np.log(0.5)) / 2
    expected = [-0.2, 0.25, 0.7, kl, 1.0]
    np.testing.assert_allclose(list(diagnostics), expected, rtol=1e-5)
    # With the value clip at .2: V = .2 for the first, ½ · (1.8² + 0) / 2 = .81.
    clipped = replace(config, {"vf_clip_eps": 0.2})
    _, diagnostics = ppo.ppo_loss(clipped, network, (), batch)
    np.testing.assert_allclose(diagnostics.value_loss, 0.81, rtol=1e-5)


@pytest.mark.parametrize("over", [None, "minibatch", "batch"])
def test_advantages_are_standardised_over_what_the_config_says(over):
    def spread(config, network, params, batch):
        loss, diagnostics = ppo.ppo_loss(config, network, params, batch)
        mean, std = batch.advantage.mean(), batch.advantage.std()
        return loss, diagnostics._replace(policy_loss=jnp.abs(mean), entropy=std)

    changes = {"normalize_advantage": over, "num_minibatches": 4}
    train = ppo.make_train(replace(CONFIG, changes), probes.Counting(), loss=spread)
    metrics = jax.jit(train)(jax.random.key(0)).metrics
    if over == "minibatch":
        np.testing.assert_allclose(metrics.policy_loss, 0, atol=1e-5)
        np.testing.assert_allclose(metrics.entropy, 1, rtol=1e-3)
    else:
        assert (metrics.policy_loss > 1e-3).all()
        near_1 = np.abs(np.asarray(metrics.entropy) - 1) < 0.5
        assert near_1.all() == (over == "batch")


def test_gradients_are_clipped_by_the_global_norm():
    # Adam forgets scale, but not with an epsilon far above the gradients: then a step
    # is lr · clipped gradient / eps, of norm lr · max_grad_norm / eps.
    changes = {
        "adam_eps": 1e6,
        "max_grad_norm": 1e-2,
        "learning_rate": 1e6,
        "anneal_lr": False,
    }
    parts = ppo.make_ppo(replace(CONFIG, changes), probes.Counting())
    state = jax.jit(parts.init)(jax.random.key(0))
    after, metrics = jax.jit(parts.step)(state)
    assert metrics.grad_norm > 0.1
    moved = jax.tree.map(lambda a, b: a - b, after.params, state.params)
    norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(moved)))
    np.testing.assert_allclose(norm, 1e-2, rtol=1e-2)
