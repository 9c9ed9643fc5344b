"""Evaluation of a fixed policy: whole episodes, the same each time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs import probes
from purejaxppo.config.fields import replace


def never_matters(obs, memory, key):
    return jnp.zeros(obs.shape[0], jnp.int32), memory


@pytest.mark.parametrize(
    "max_steps, episode", [(100, (15, 5)), (5, (15, 5)), (3, (6, 3))]
)
def test_whole_episodes_are_played_and_cut_at_the_bound(key, max_steps, episode):
    episodes = ppo.evaluate(
        key, never_matters, probes.Counting(), probes.CountingParams(5), 3, max_steps
    )
    np.testing.assert_array_equal(episodes.episode_return, [episode[0]] * 3)
    np.testing.assert_array_equal(episodes.episode_length, [episode[1]] * 3)
    np.testing.assert_array_equal(episodes.cut, [max_steps < 5] * 3)


class Uneven(probes.Counting):
    """Episodes of one to nine steps, drawn at their start."""

    def reset(self, key, params):
        return jnp.zeros(1), (jnp.int32(0), jax.random.randint(key, (), 1, 10))

    def step(self, key, state, action, params):
        time, length = state[0] + 1, state[1]
        return ppo.Step(
            obs=jnp.zeros(1),
            state=(time, length),
            reward=jnp.float32(1),
            terminated=jnp.bool_(False),
            truncated=time >= length,
            info={},
        )


def test_each_episode_counts_to_its_own_end_only(key):
    episodes = ppo.evaluate(key, never_matters, Uneven(), None, 20)
    np.testing.assert_array_equal(episodes.episode_return, episodes.episode_length)
    lengths = np.asarray(episodes.episode_length)
    assert lengths.min() >= 1 and lengths.max() <= 9 and len(np.unique(lengths)) > 3


def test_the_same_key_gives_the_same_episodes_whatever_the_policy(key):
    def run(key, answer):
        answers = jnp.full(50, answer)
        act = lambda obs, memory, key: (answers, memory)  # noqa: E731
        return ppo.evaluate(key, act, probes.Match(), probes.NoParams(), 50)

    zero, one = run(key, 0).episode_return, run(key, 1).episode_return
    np.testing.assert_array_equal(zero, run(key, 0).episode_return)
    np.testing.assert_array_equal(zero + one, 1)
    other = run(jax.random.key(1), 0).episode_return
    assert (zero != other).any()


class Large(probes.Counting):
    """A reward of 2²⁴ at first, then 1: float32 + 1 would stay there."""

    def step(self, key, state, action, params):
        reward = jnp.where(state.time == 0, 2.0**24, 1.0)
        return super().step(key, state, action, params)._replace(reward=reward)


def test_returns_grow_past_what_float32_counts(key):
    episodes = ppo.evaluate(key, never_matters, Large(), probes.CountingParams(7), 2)
    np.testing.assert_array_equal(episodes.episode_return, [2**24 + 6] * 2)


FROZEN = ppo.Config(
    total_timesteps=4 * 16,
    num_envs=4,
    num_steps=4,
    num_minibatches=2,
    learning_rate=0.0,
    network=ppo.NetworkConfig(widths=(4,)),
    evaluation=ppo.EvaluationConfig(every=1, num_episodes=64),
)


def evaluations(**changes):
    train = ppo.make_train(replace(FROZEN, changes), probes.Identity())
    return np.asarray(jax.jit(train)(jax.random.key(0)).metrics.evaluation_return)


def test_evaluations_of_one_policy_are_equal_and_follow_their_settings():
    modes = evaluations(
        **{
            "transform_reward.scale": 100.0,
            "normalize_reward": "reward_standardization",
            "temperature": 3.0,
            "num_starts": 1,
        }
    )
    samples = evaluations(**{"evaluation.deterministic": False})
    other = evaluations(**{"evaluation.seed": 1})
    for values in (modes, samples, other):
        assert len(np.unique(values)) == 1
    assert modes[0] > samples[0] + 0.1
    assert modes[0] != other[0]
    # By hand, and without what training makes of rewards, starts and sampling.
    env, parts = probes.Identity(), ppo.make_ppo(FROZEN, probes.Identity())
    state = jax.jit(parts.init)(jax.random.key(0))
    act = lambda obs, memory, key: parts.act(state, obs)  # noqa: E731
    raw = ppo.evaluate(jax.random.key(0), act, env, None, 64).episode_return
    np.testing.assert_allclose(modes, raw.mean(), rtol=1e-5)


def test_raw_gymnax_environments_are_evaluated_too(key):
    import gymnax

    env, env_params = gymnax.make("CartPole-v1")
    raw = ppo.evaluate(key, never_matters, env, env_params, 3)
    adapted = ppo.evaluate(key, never_matters, *ppo.make("CartPole-v1"), 3)
    np.testing.assert_array_equal(raw.episode_return, adapted.episode_return)
