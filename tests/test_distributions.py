"""Action heads against SciPy, and their samplers against their distributions."""

from typing import Any

import distrax
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purejaxppo import make_action_head
from purejaxppo.distributions import keyed_sampler

BOX = gymnasium.spaces.Box(-1.0, np.array([1.0, 2.0], np.float32), (2,), np.float32)
LOGITS = jnp.array([0.5, -1.0, 2.0, 0.0])


def test_categorical_equals_scipy():
    head = make_action_head(gymnasium.spaces.Discrete(4))
    distribution = head.distribution(LOGITS[None], None)
    expected = scipy.stats.rv_discrete(values=(np.arange(4), jax.nn.softmax(LOGITS)))
    actions = jnp.arange(4)[:, None]
    log_prob = np.asarray(jax.vmap(distribution.log_prob)(actions))
    np.testing.assert_allclose(log_prob[:, 0], expected.logpmf(np.arange(4)), rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), [expected.entropy()], rtol=1e-5)
    assert (head.num_outputs, head.has_scale) == (4, False)
    assert distribution.mode() == 2


@pytest.mark.parametrize("logits", [[0.5, -1.0, 2.0], [0.0, -jnp.inf, 1.0]])
def test_categorical_equals_distrax(logits):
    head = make_action_head(gymnasium.spaces.Discrete(3))

    def figures(make):
        def both(logits):
            distribution = make(jnp.tile(logits, (2, 1)))
            action = jnp.array([0, 2])
            return (distribution.entropy() + 2 * distribution.log_prob(action)).sum()

        return jax.value_and_grad(both)(jnp.array(logits))

    ours = figures(lambda logits: head.distribution(logits, None))
    theirs = figures(lambda logits: distrax.Categorical(logits=logits))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6)


def test_gaussian_equals_scipy():
    head = make_action_head(BOX)
    mean, log_std = jnp.array([[0.5, -1.0], [2.0, 0.1]]), jnp.array([-0.5, 0.3])
    distribution = head.distribution(mean, log_std)
    action = jnp.array([[0.1, 0.2], [3.0, -4.0]])
    expected: Any = scipy.stats.norm(np.asarray(mean), np.exp(np.asarray(log_std)))
    log_prob, entropy = distribution.log_prob(action), distribution.entropy()
    np.testing.assert_allclose(log_prob, expected.logpdf(action).sum(1), rtol=1e-5)
    np.testing.assert_allclose(entropy, expected.entropy().sum(1), rtol=1e-5)
    assert (head.num_outputs, head.has_scale) == (2, True)
    np.testing.assert_array_equal(distribution.mode(), mean)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_actions_have_the_shape_of_their_box(shape):
    head = make_action_head(gymnasium.spaces.Box(-1, 1, shape, np.float32))
    outputs = jnp.zeros((5, head.num_outputs))
    distribution = head.distribution(outputs, jnp.zeros(head.num_outputs))
    noise = head.sampler.draw(jax.random.key(0), (7, 5))
    action = head.sampler.sample(distribution, noise[0])
    assert action.shape == (5, *shape)
    assert distribution.log_prob(action).shape == (5,)
    assert head.to_env(action).shape == (5, *shape)


def test_categorical_samples_follow_the_distribution(key):
    head = make_action_head(gymnasium.spaces.Discrete(4))
    distribution = head.distribution(jnp.tile(LOGITS, (50, 1)), None)
    noise = head.sampler.draw(key, (400, 50))
    assert noise.shape == (400, 50, 4)
    actions = jax.vmap(head.sampler.sample, (None, 0))(distribution, noise)
    counts = np.bincount(actions.ravel(), minlength=4)
    expected = np.asarray(jax.nn.softmax(LOGITS), np.float64)
    expected = expected / expected.sum() * counts.sum()
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_gaussian_samples_follow_the_distribution(key):
    head = make_action_head(BOX)
    mean, std = jnp.tile(jnp.array([0.5, -1.0]), (50, 1)), jnp.array([0.5, 2.0])
    distribution = head.distribution(mean, jnp.log(std))
    noise = head.sampler.draw(key, (200, 50))
    actions = jax.vmap(head.sampler.sample, (None, 0))(distribution, noise)
    actions = np.asarray(actions).reshape(-1, 2)
    for i in range(2):
        normal = scipy.stats.norm(mean[0, i], std[i])
        assert scipy.stats.kstest(actions[:, i], normal.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.05


def test_keyed_sampler_follows_any_distribution(key):
    head = make_action_head(gymnasium.spaces.Discrete(4))
    distribution = head.distribution(jnp.tile(LOGITS, (500, 1)), None)
    sampler = keyed_sampler()
    keys = sampler.draw(key, (40, 500))
    actions = jax.vmap(sampler.sample, (None, 0))(distribution, keys)
    counts = np.bincount(actions.ravel(), minlength=4)
    expected = np.asarray(jax.nn.softmax(LOGITS), np.float64)
    expected = expected / expected.sum() * counts.sum()
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_discrete_start_reaches_the_environment_only():
    head = make_action_head(gymnasium.spaces.Discrete(3, start=-1))
    distribution = head.distribution(jnp.zeros((6, 3)), None)
    noise = head.sampler.draw(jax.random.key(0), (1, 6))
    action = head.sampler.sample(distribution, noise[0])
    assert set(np.asarray(action).tolist()) <= {0, 1, 2}
    np.testing.assert_array_equal(head.to_env(action), action - 1)


def test_bounds_clip_what_the_environment_gets():
    head = make_action_head(BOX)
    action = jnp.array([[-3.0, 3.0], [0.5, 1.5]])
    np.testing.assert_array_equal(head.to_env(action), [[-1, 2], [0.5, 1.5]])


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.MultiDiscrete([2, 3]),
        gymnasium.spaces.MultiBinary(2),
        gymnasium.spaces.Box(0, 5, (2,), np.int32),
        gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)}),
    ],
)
def test_other_spaces_are_refused_in_one_line(space):
    with pytest.raises(ValueError, match=r"^Expected action_space to be .*, got .*$"):
        make_action_head(space)
