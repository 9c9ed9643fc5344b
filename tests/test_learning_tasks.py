"""Learning with every kind of action, and with a memory; and values that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import purejaxppo as ppo
from envs import gridworld, identity, masked, sequence
from purejaxppo.config.fields import replace

pytestmark = pytest.mark.slow

SMALL = {
    "total_timesteps": 30_000,
    "num_envs": 8,
    "num_steps": 64,
    "learning_rate": 1e-3,
    "gamma": 0.9,
}


def learn(env, changes, num_seeds=4):
    """The IQM over seeds of the last fifth of a run, and the trained states."""
    train = ppo.make_train(replace(ppo.Config(), SMALL | changes), env)
    result = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), num_seeds))
    assert result.metrics.finite.all()
    curves = np.asarray(result.metrics.episode_return)
    last = np.nanmean(curves[:, -max(curves.shape[1] // 5, 3) :], axis=1)
    return scipy.stats.trim_mean(last, 0.25), result.state


@pytest.mark.parametrize("autoregressive", [(), ("all",)])
def test_multi_discrete_actions(autoregressive):
    env = identity.MultiDiscreteIdentity()
    budget = {"total_timesteps": 12_288}
    score, _ = learn(env, budget | {"network.autoregressive": autoregressive})
    assert score >= 90  # Of 100; at random 11.


@pytest.mark.parametrize("ratio", ["joint", "factored"])
def test_a_tree_of_actions(ratio):
    changes = {"ratio": ratio, "ent_coef": 0.0, "total_timesteps": 16_384}
    score, _ = learn(identity.HybridIdentity(), changes)
    assert score >= 125  # Of 200; at random -8.


def test_a_sequence_is_recited_from_memory():
    env = sequence.FixedSequence()
    budget = {"total_timesteps": 8_192, "learning_rate": 3e-3, "gamma": 0.99}
    score, _ = learn(env, budget | {"network.memory": "lstm", "sequence_length": 32})
    assert score >= 0.7 * 5
    without, _ = learn(env, budget)
    assert without < 0.4 * 5


def test_valid_actions_are_played():
    score, _ = learn(masked.Console(), {"total_timesteps": 60_000, "gamma": 0.99})
    assert score >= 15.5  # Of 20; at random among the valid ones 12.8, else -0.9.


def test_the_critic_learns_the_value_table_of_the_gridworld():
    env = gridworld.Gridworld()
    changes = {
        "total_timesteps": 150_000,
        "num_envs": 32,
        "ent_coef": 0.0,
        "actor_optimizer.learning_rate": 0.0,
        "critic_optimizer.learning_rate": 3e-3,
        "network.policy_gain": 1e-6,
    }
    _, state = learn(env, changes)
    network = ppo.make_ppo(replace(ppo.Config(), SMALL | changes), env).network
    squares = jnp.arange(25)
    values = jax.vmap(lambda p: network.critic(p, squares, ())[0])(state.params)
    error = np.abs(values - gridworld.random_values(gamma=0.9).reshape(-1)[None])
    assert error.mean() < 0.25, error.mean()  # Values from -2 to 9.
