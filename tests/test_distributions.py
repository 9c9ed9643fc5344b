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
from purejaxppo.algorithm.sampling import keyed_sampler
from purejaxppo.config.choices import POLICIES
from purejaxppo.networks.distributions import (
    INDEPENDENT,
    MARGIN,
    Sigma,
    draw_proposals,
    gamma_sample,
    log_tanh_slope,
    pre_squash_mean,
    temper,
)

DISCRETE = gymnasium.spaces.Discrete(4)
UNBOUNDED = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
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
    assert (head.num_outputs, head.num_scales) == (4, 0)
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
    assert (head.num_outputs, head.num_scales) == (2, 2)
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
        gymnasium.spaces.Box(0, 5, (2,), np.int32),
        gymnasium.spaces.Text(3),
        gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2)),
    ],
)
def test_other_spaces_are_refused_in_one_line(space):
    with pytest.raises(ValueError, match=r"^Expected action_space to be .*, got .*$"):
        make_action_head(space)


@pytest.mark.parametrize(
    "space, options, message",
    [
        (
            DISCRETE,
            {"policy": "beta"},
            "network.policy to be gaussian for a Discrete action space, got 'beta'.",
        ),
        (
            DISCRETE,
            {"sigma": Sigma("fixed", 0.5)},
            "network.sigma to be off for a Discrete action space, got it on.",
        ),
        (
            DISCRETE,
            {"tanh_mean": True},
            "network.tanh_mean to be False for a Discrete action space, got True.",
        ),
        (
            BOX,
            {"policy": "gamma"},
            "network.policy to be gaussian, tanh_gaussian or beta, got 'gamma'.",
        ),
        (
            BOX,
            {"sigma": Sigma("none")},
            "network.sigma to be independent, fixed, scheduled or conditioned, "
            "got 'none'.",
        ),
        (
            BOX,
            {"sigma": Sigma("conditioned", parametrization="exp")},
            "sigma.parametrization to be clamp or softplus, got 'exp'.",
        ),
        (
            BOX,
            {"policy": "beta", "sigma": Sigma("conditioned")},
            "network.sigma to be independent for network.policy 'beta', "
            "got 'conditioned'.",
        ),
        (
            BOX,
            {"policy": "tanh_gaussian", "tanh_mean": True},
            "network.tanh_mean to be False for network.policy 'tanh_gaussian', "
            "got True.",
        ),
        (
            UNBOUNDED,
            {"policy": "beta"},
            "action_space to be bounded for network.policy 'beta', "
            "got Box(-inf, inf, (2,), float32).",
        ),
        (
            gymnasium.spaces.Box(1, 1, (2,), np.float32),
            {"policy": "tanh_gaussian"},
            "action_space to be bounded for network.policy 'tanh_gaussian', "
            "got Box(1.0, 1.0, (2,), float32).",
        ),
        (
            gymnasium.spaces.Box(-3e38, 3e38, (2,), np.float32),
            {"policy": "beta"},
            "action_space to be bounded for network.policy 'beta', got Box(",
        ),
        (
            gymnasium.spaces.Box(
                -1, np.array([1, np.inf] * 20, np.float32), (40,), np.float32
            ),
            {"policy": "tanh_gaussian"},
            "action_space to be bounded for network.policy 'tanh_gaussian', got Box(",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_one_line(
    space, options, message
):
    with pytest.raises(ValueError) as error:
        make_action_head(space, **options)
    assert str(error.value).startswith(f"Expected {message}")
    assert "\n" not in str(error.value)


def test_the_default_adds_nothing():
    head = make_action_head(BOX)

    def plain(outputs, log_std):
        mean = outputs.reshape(*outputs.shape[:-1], 2)
        std = jnp.broadcast_to(jnp.exp(log_std).reshape(2), mean.shape)
        return distrax.Independent(distrax.Normal(mean, std), 1)

    def program(make):
        def figures(outputs, log_std, noise, action):
            distribution = make(outputs, log_std)
            sample = distribution.mean() + distribution.stddev() * noise
            return sample, distribution.log_prob(action), distribution.entropy()

        x = jnp.zeros((5, 2))
        return str(jax.make_jaxpr(figures)(x, jnp.zeros(2), x, x))

    assert program(head.distribution) == program(plain)
    assert not head.scheduled


# Each of the heads over a Box: its options, and outputs for a batch of two.
HEADS = {
    "gaussian": {},
    "tanh_mean": {"tanh_mean": True},
    "tanh_gaussian": {"policy": "tanh_gaussian"},
    "beta": {"policy": "beta"},
    "conditioned": {"sigma": Sigma("conditioned", low=-2.0)},
    "tanh_conditioned": {
        "policy": "tanh_gaussian",
        "sigma": Sigma("conditioned", low=-2.0),
    },
    "fixed": {"sigma": Sigma("fixed", 0.5)},
}
LOG_STD = jnp.array([-0.5, 0.3])


def example(name, box=BOX):
    """A head and its distribution for a batch of two."""
    head = make_action_head(box, **HEADS[name])
    outputs = jnp.array([[0.5, -1.0, 0.2, 0.9], [2.0, 0.1, -0.4, 0.0]])
    outputs = outputs[:, : head.num_outputs]
    return head, head.distribution(outputs, LOG_STD if head.num_scales else None)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_the_shape_of_its_box(name, shape, key):
    box = gymnasium.spaces.Box(-0.1, 0.3, shape, np.float32)
    head = make_action_head(box, **HEADS[name])
    outputs = 20 * jax.random.normal(key, (5, head.num_outputs))
    distribution = head.distribution(outputs, jnp.zeros(head.num_outputs))
    action = head.sampler.sample(distribution, head.sampler.draw(key, (7, 5))[0])
    for x in (action, distribution.sample(seed=key), distribution.mode()):
        assert x.shape == (5, *shape)
        assert all(box.contains(np.asarray(a)) for a in head.to_env(x))
    for x in (distribution.log_prob(action), distribution.entropy()):
        assert x.shape == (5,) and np.isfinite(x).all()
    assert distribution.kl_divergence(distribution).shape == (5,)


@pytest.mark.parametrize("name", HEADS)
def test_samples_are_of_the_density_and_the_entropy_is_its_mean(name, key):
    head, distribution = example(name)
    noise = head.sampler.draw(key, (10_000, 2))
    ahead = jax.vmap(head.sampler.sample, (None, 0))(distribution, noise)
    keys = jax.random.split(key, 10_000)
    keyed = jax.vmap(lambda key: distribution.sample(seed=key))(keys)
    for sample in (ahead, keyed):
        surprise = -np.asarray(jax.vmap(distribution.log_prob)(sample), np.float64)
        error = surprise.std(0) / len(surprise) ** 0.5
        assert (abs(surprise.mean(0) - distribution.entropy()) < 4 * error + 1e-5).all()


@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("name", ["categorical", *HEADS])
def test_rows_of_a_distribution_are_the_distribution_of_those_rows(name, shape, key):
    # As minibatches of a policy that a rollout stored.
    space = gymnasium.spaces.Box(-0.1, 0.3, shape, np.float32)
    if name == "categorical":
        space = (
            DISCRETE
            if shape == ()
            else gymnasium.spaces.MultiDiscrete(np.array([[2, 4]]))
        )
    head = make_action_head(space, **HEADS.get(name, {}))

    @jax.jit
    def figures(outputs):
        scales = jnp.zeros(head.num_scales) if head.num_scales else None
        p, q = (head.distribution(x, scales) for x in (outputs, -outputs))
        noise = head.sampler.draw(key, (1, 6))[0]
        action, rows = head.sampler.sample(p, noise), jnp.array([4, 1, 1])

        def all_of(p, q, noise, action):
            tempered = temper(p, 2.0)
            return (
                p.log_prob(action),
                p.entropy(),
                p.mode(),
                head.sampler.sample(p, noise),
                p.kl_divergence(q),
                tempered.kl_divergence(p),
                tempered.log_prob(action),
                p.sample(seed=key),
            )

        some = jax.tree.map(lambda x: x[rows], (p, q, noise, action))
        again = [head.distribution(x[rows], scales) for x in (outputs, -outputs)]
        return all_of(*some), all_of(again[0], again[1], noise[rows], action[rows])

    outputs = 2 * jax.random.normal(key, (6, head.num_outputs))
    found = figures(outputs)
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        assert got.shape[0] == 3 and np.isfinite(got).all()
    log_prob = found[0][0]
    assert log_prob[0] != log_prob[1] == log_prob[2]


def test_densities_of_a_beta_are_distraxs_at_no_other_cost():
    head = make_action_head(BOX, policy="beta")

    def theirs(outputs, log_std):
        alpha, beta = jnp.split(1 + jax.nn.softplus(outputs), 2, axis=-1)
        return distrax.Independent(distrax.Beta(alpha, beta), 1)

    def program(make, figure):
        x = jnp.ones((5, 4))
        return str(jax.make_jaxpr(lambda x: figure(make(x, None)))(x))

    x = jnp.full((5, 2), 0.3)
    for figure in (lambda p: p.log_prob(x), lambda p: p.entropy()):
        assert program(head.distribution, figure) == program(theirs, figure)
    outputs = jnp.array([[0.5, -1.0, 0.2, 0.9], [2.0, 0.1, -0.4, 0.0]])
    ours, other = (
        make(outputs, None).kl_divergence(make(-outputs, None))
        for make in (head.distribution, theirs)
    )
    np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize("name", HEADS)
def test_kl_divergence_is_the_mean_log_ratio(name, key):
    head, p = example(name)
    q = temper(p, 1.5)
    sample = jax.vmap(head.sampler.sample, (None, 0))(
        p, head.sampler.draw(key, (10_000, 2))
    )
    ratio = jax.vmap(lambda x: p.log_prob(x) - q.log_prob(x))(sample)
    error = np.std(ratio, 0) / len(ratio) ** 0.5
    kl = p.kl_divergence(q)
    assert (kl > 0.01).all()
    assert (abs(kl - np.mean(ratio, 0)) < 4 * error + 1e-5).all()
    np.testing.assert_allclose(p.kl_divergence(p), 0, atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_ratio_is_one_for_what_a_rollout_stored(name, key):
    # As a rollout and a loss compute it: step by step, and flat; both for many seeds.
    head = make_action_head(BOX, **HEADS[name])
    log_std = LOG_STD if head.num_scales else None

    def log_ratio(key):
        outputs = 3 * jax.random.normal(key, (16, 4, head.num_outputs))

        def step(carry, slices):
            outputs, noise = slices
            distribution = head.distribution(outputs, log_std)
            action = head.sampler.sample(distribution, noise)
            return carry, (action, distribution.log_prob(action))

        noise = head.sampler.draw(key, (16, 4))
        _, (action, log_prob) = jax.lax.scan(step, (), (outputs, noise))
        flat = head.distribution(outputs.reshape(64, -1), log_std)
        return flat.log_prob(action.reshape(64, 2)) - log_prob.reshape(64)

    got = jax.jit(jax.vmap(log_ratio))(jax.random.split(key, 3))
    np.testing.assert_allclose(got, 0, atol=1e-5)


def squash(box=BOX):
    """tanh into the box, as distrax has it."""
    center, half = (box.high + box.low) / 2, (box.high - box.low) / 2
    return distrax.Chain([distrax.ScalarAffine(center, half), distrax.Tanh()])


@pytest.fixture
def promote():
    """distrax's bijectors broadcast ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


def test_tanh_gaussian_equals_distrax(promote, key):
    head, distribution = example("tanh_gaussian")
    normal = distribution.base.distribution
    theirs = distrax.Transformed(normal, squash())
    u = jax.random.normal(key, (2, 2))
    action = theirs.bijector.forward(u)
    np.testing.assert_allclose(head.to_env(u), action, rtol=1e-5)
    np.testing.assert_allclose(
        distribution.log_prob(u), theirs.log_prob(action).sum(-1), rtol=1e-4
    )


def test_log_prob_is_exact_however_saturated(promote):
    head = make_action_head(BOX, policy="tanh_gaussian")

    def log_prob(mean, u):
        distribution = head.distribution(mean, jnp.zeros(2))
        return distribution.log_prob(u).sum()

    for u in (-100.0, -12.0, 12.0, 100.0):
        mean = jnp.full((1, 2), u - 0.5)
        stored = jnp.full((1, 2), u)
        got, grads = jax.value_and_grad(log_prob, (0, 1))(mean, stored)
        # ln(1 − tanh² u) is 2 ln 2 − 2 |u| here, to 1e-10; half widths are 1 and 1.5.
        normal = -0.125 - 0.5 * np.log(2 * np.pi)
        expected = 2 * (normal - 2 * np.log(2) + 2 * abs(u)) - np.log(1.5)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        np.testing.assert_allclose(grads[0], 0.5 * np.ones((1, 2)), rtol=1e-4)
        assert np.isfinite(grads[1]).all()
        # What inverts the tanh of a stored action has no answer to that.
        theirs = distrax.Transformed(distrax.Normal(mean, 1.0), squash())
        inverted = jax.jit(
            lambda u, theirs=theirs: theirs.log_prob(head.to_env(u)),
            # Without these, XLA's tanh never quite reaches 1.
            compiler_options={"xla_cpu_use_fusion_emitters": True},
        )(stored)
        assert not np.isfinite(inverted).all()


def test_slope_of_tanh_equals_double_precision():
    u = np.linspace(-6, 6, 101)
    expected = np.log1p(-np.square(np.tanh(u)))
    np.testing.assert_allclose(log_tanh_slope(jnp.asarray(u)), expected, atol=2e-6)


@pytest.mark.parametrize("std, atol", [(0.3, 2e-5), (1.0, 2e-5), (2.0, 2e-3)])
def test_tanh_entropy_equals_an_integral(std, atol):
    head = make_action_head(BOX, policy="tanh_gaussian")
    mean = jnp.array([[0.0, 0.5], [-2.0, 4.0]])
    got = head.distribution(mean, jnp.full(2, jnp.log(std))).entropy()
    z = np.linspace(-10, 10, 20_001)
    weight = scipy.stats.norm.pdf(z) * (z[1] - z[0])
    u = np.asarray(mean)[..., None] + std * z
    slope = 2 * (np.log(2) - abs(u) - np.log1p(np.exp(-2 * abs(u))))
    expected = (slope * weight).sum(-1) + 0.5 * np.log(2 * np.pi * np.e * std**2)
    np.testing.assert_allclose(got, expected.sum(-1) + np.log(1.5), atol=2 * atol)


def test_beta_equals_scipy():
    head, distribution = example("beta")
    outputs = np.array([[0.5, -1.0, 0.2, 0.9], [2.0, 0.1, -0.4, 0.0]])
    alpha, beta = np.split(1 + np.log1p(np.exp(outputs)), 2, -1)
    expected: Any = scipy.stats.beta(alpha, beta)
    x = jnp.array([[0.1, 0.7], [1e-6, 1 - 1e-6]])
    log_prob, entropy = distribution.log_prob(x), distribution.entropy()
    np.testing.assert_allclose(
        log_prob, expected.logpdf(np.asarray(x, np.float64)).sum(1), rtol=1e-5
    )
    np.testing.assert_allclose(entropy, expected.entropy().sum(1), atol=1e-5)
    np.testing.assert_allclose(distribution.mode(), expected.mean(), rtol=1e-6)
    low, width = BOX.low, BOX.high - BOX.low
    action = head.to_env(distribution.mode())
    np.testing.assert_allclose(action, low + width * expected.mean(), rtol=1e-5)
    assert (head.num_outputs, head.num_scales) == (4, 0)


def test_beta_divergence_equals_an_integral():
    _, p = example("beta")
    q = temper(p, 2.0)
    x = (np.arange(20_000) + 0.5) / 20_000
    figures = []
    for d in (p, q):
        alpha, beta = (np.asarray(y)[..., None] for y in (d.alpha, d.beta))
        figures.append(scipy.stats.beta.logpdf(x, alpha, beta))
    expected = (np.exp(figures[0]) * (figures[0] - figures[1])).mean(-1).sum(-1)
    np.testing.assert_allclose(p.kl_divergence(q), expected, atol=1e-4)


@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (1.7, 1.2), (1.0, 9.0), (40, 60)])
def test_beta_samples_follow_the_distribution(alpha, beta, key):
    head = make_action_head(gymnasium.spaces.Box(0, 1, (2,), np.float32), policy="beta")
    # softplus⁻¹(α − 1), where α = 1 is far out.
    outputs = np.array([np.log(np.expm1(max(x - 1, 1e-9))) for x in (alpha, beta)])
    outputs = jnp.tile(jnp.repeat(jnp.asarray(outputs), 2), (50, 1))
    distribution = head.distribution(outputs, None)
    noise = head.sampler.draw(key, (100, 50))
    sample = jax.vmap(head.sampler.sample, (None, 0))(distribution, noise)
    sample = np.asarray(sample).reshape(-1, 2)
    expected = scipy.stats.beta(alpha, beta)
    for i in range(2):
        assert scipy.stats.kstest(sample[:, i], expected.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(sample.T)[0, 1]) < 0.05


def test_few_proposals_are_enough(key):
    noise = draw_proposals(key, (50_000,))[:, :, 0]
    one = gamma_sample(jnp.ones(50_000), noise[:, 0, :1], noise[:, 1, :1])
    rejected = jnp.isclose(one, 2 / 3, rtol=1e-6).mean()
    # Six in a row: 1.3e-8.
    assert 0.045 < rejected < 0.051
    many = gamma_sample(jnp.ones(50_000), noise[:, 0], noise[:, 1])
    assert scipy.stats.kstest(np.asarray(many), scipy.stats.expon.cdf).pvalue > 1e-3


def test_beta_samples_keep_from_the_edges(key):
    # Clamped to [0, 1] instead, or not at all, these have a density of 0 or NaN.
    head = make_action_head(BOX, policy="beta")
    outputs = jnp.tile(jnp.array([0.0, 1e8, 1e8, 0.0]), (500, 1))
    distribution = head.distribution(outputs, None)
    noise = head.sampler.draw(key, (1, 500))[0]
    ahead = head.sampler.sample(distribution, noise)
    for x in (ahead, distribution.sample(seed=key)):
        np.testing.assert_allclose(x[:, 0].min(), MARGIN, rtol=1e-6)
        np.testing.assert_allclose(x[:, 1].max(), 1 - MARGIN, rtol=1e-7)
        assert np.isfinite(distribution.log_prob(x)).all()
        assert all(BOX.contains(action) for action in np.asarray(head.to_env(x)))
    unclipped = distribution.base.log_prob(jnp.tile(jnp.array([0.0, 1.0]), (500, 1)))
    assert not np.isfinite(unclipped).any()


def test_mean_is_bounded_by_tanh():
    low = np.array([-1, 2, -np.inf, 0], np.float32)
    high = np.array([1, 6, np.inf, np.inf], np.float32)
    box = gymnasium.spaces.Box(low, high, (4,), np.float32)
    head = make_action_head(box, tanh_mean=True)
    outputs = jnp.array([[0.5, 0.5, 0.5, 0.5], [9.0, -9.0, 9.0, -9.0]])
    t = np.tanh(0.5)
    expected = [[t, 4 + 2 * t, t, t], [1, 2, 1, -1]]
    distribution = head.distribution(outputs, jnp.zeros(4))
    np.testing.assert_allclose(distribution.mean(), expected, atol=1e-6)
    # Only the mean: a sample still leaves the box, and is stored as it is.
    noise = jnp.full((2, 4), 5.0)
    np.testing.assert_allclose(
        head.sampler.sample(distribution, noise), np.add(expected, 5), rtol=1e-6
    )


@pytest.mark.parametrize("policy", ["gaussian", "tanh_gaussian"])
def test_fixed_sigma_may_be_traced(policy):
    def std(value):
        head = make_action_head(BOX, policy=policy, sigma=Sigma("fixed", value))
        assert (head.num_outputs, head.num_scales, head.scheduled) == (2, 0, False)
        distribution = head.distribution(jnp.zeros((3, 2)), None)
        return getattr(distribution, "base", distribution).stddev()

    values = jnp.array([0.3, 1.0])
    expected = np.broadcast_to(np.asarray(values)[:, None, None], (2, 3, 2))
    np.testing.assert_array_equal(jax.jit(jax.vmap(std))(values), expected)


@pytest.mark.parametrize("policy", ["gaussian", "tanh_gaussian"])
def test_scheduled_sigma_has_no_gradient(policy):
    action = jnp.ones((3, 2))

    def log_prob(log_std, kind):
        head = make_action_head(BOX, policy=policy, sigma=Sigma(kind))
        assert (head.num_scales, head.scheduled) == (2, kind == "scheduled")
        return head.distribution(jnp.zeros((3, 2)), log_std).log_prob(action).sum()

    both = [
        jax.value_and_grad(log_prob)(LOG_STD, kind)
        for kind in ("scheduled", "independent")
    ]
    assert both[0][0] == both[1][0]
    np.testing.assert_array_equal(both[0][1], 0)
    assert (both[1][1] != 0).all()


def test_conditioned_sigma_is_what_the_network_says():
    def std(x, **options):
        sigma = Sigma("conditioned", **options)
        head = make_action_head(BOX, sigma=sigma)
        assert (head.num_outputs, head.num_scales) == (4, 0)
        return head.distribution(jnp.array([[7.0, 8.0, *x]]), None).stddev()[0]

    np.testing.assert_allclose(std([0.0, 1.0]), [1, np.e], rtol=1e-6)
    np.testing.assert_allclose(std([-99.0, 9.0]), np.exp([-20, 2]), rtol=1e-5)
    clamped = std([-3.0, 1.0], low=-1.0, high=jnp.float32(0.5))
    np.testing.assert_allclose(clamped, np.exp([-1, 0.5]), rtol=1e-6)
    soft = std([0.0, -99.0], parametrization="softplus")
    np.testing.assert_allclose(soft, [np.log(2) + 1e-5, 1e-5], rtol=1e-5)
    mean = make_action_head(BOX, sigma=Sigma("conditioned")).distribution(
        jnp.array([[7.0, 8.0, 0.0, 0.0]]), None
    )
    np.testing.assert_array_equal(mean.mean(), [[7, 8]])


def test_tempered_categorical_is_of_the_logits_over_the_temperature(key):
    # The log-probability of logits that are not tempered, as a peer stores, is another.
    head = make_action_head(DISCRETE)
    distribution = head.distribution(jnp.tile(LOGITS, (500, 1)), None)
    tempered = jax.jit(temper)(distribution, 2.5)
    noise = head.sampler.draw(key, (40, 500))
    actions = jax.vmap(head.sampler.sample, (None, 0))(tempered, noise)
    expected = np.asarray(jax.nn.softmax(LOGITS / 2.5), np.float64)
    counts = np.bincount(actions.ravel(), minlength=4)
    expected = expected / expected.sum()
    assert scipy.stats.chisquare(counts, expected * counts.sum()).pvalue > 1e-3
    stored = np.exp(tempered.log_prob(actions[0]))
    np.testing.assert_allclose(stored, expected[actions[0]], rtol=1e-5)
    assert (
        abs(tempered.log_prob(actions[0]) - distribution.log_prob(actions[0])) > 0.01
    ).all()


@pytest.mark.parametrize("name", HEADS)
def test_temperature_scales_sigma_and_flattens_a_beta(name):
    _, distribution = example(name)
    tempered = temper(distribution, jnp.float32(2.5))
    assert type(tempered) is type(distribution)
    same = temper(distribution, 1.0)
    np.testing.assert_allclose(same.entropy(), distribution.entropy(), atol=1e-6)
    if name == "beta":
        # Both densities to their power are alike, up to a constant.
        x = jnp.array([[0.2, 0.9], [0.6, 0.3]]), jnp.array([[0.7, 0.1], [0.5, 0.5]])
        more, once = ([d.log_prob(y) for y in x] for d in (tempered, distribution))
        np.testing.assert_allclose(
            2.5 * (more[1] - more[0]), once[1] - once[0], atol=1e-5
        )
        return
    before, after = (getattr(d, "base", d) for d in (distribution, tempered))
    np.testing.assert_allclose(after.stddev(), 2.5 * before.stddev(), rtol=1e-6)
    np.testing.assert_array_equal(after.mean(), before.mean())
    if name.startswith("tanh_gaussian"):
        np.testing.assert_array_equal(tempered.volume, distribution.volume)


def test_only_our_distributions_are_tempered():
    for other in (distrax.Normal(0.0, 1.0), distrax.Bernoulli(logits=0.0), None):
        name = type(other).__name__
        with pytest.raises(ValueError, match=f"make_action_head's, got {name}.$"):
            temper(other, 2.0)


def test_mean_before_the_squash():
    outputs = jnp.arange(12.0).reshape(2, 6)
    for policy in ("gaussian", "tanh_gaussian"):
        box = gymnasium.spaces.Box(-1, 1, (2, 3), np.float32)
        head = make_action_head(box, policy=policy)
        distribution = head.distribution(outputs, jnp.zeros(6))
        np.testing.assert_array_equal(pre_squash_mean(distribution), outputs)
    discrete = make_action_head(DISCRETE).distribution(outputs[:, :4], None)
    for other in (discrete, example("beta")[1]):
        with pytest.raises(ValueError, match=r"^Expected the .* Gaussian, got \w+\.$"):
            pre_squash_mean(other)


@pytest.mark.parametrize("policy", POLICIES)
def test_figures_are_finite_for_any_outputs(policy, key):
    head = make_action_head(BOX, policy=policy, sigma=INDEPENDENT)

    def figures(outputs, noise):
        distribution = head.distribution(outputs, jnp.array([-5.0, 3.0]))
        action = jax.lax.stop_gradient(head.sampler.sample(distribution, noise))
        return (distribution.log_prob(action) + distribution.entropy()).sum()

    scales = jnp.array([0.0, 1.0, 30.0, 1000.0])
    noise = head.sampler.draw(key, (4, 50))
    outputs = jax.random.normal(key, (4, 50, head.num_outputs)) * jnp.broadcast_to(
        scales[:, None, None], (4, 50, head.num_outputs)
    )
    both = jax.jit(jax.vmap(jax.value_and_grad(figures)))(outputs, noise)
    assert all(np.isfinite(x).all() for x in both)
