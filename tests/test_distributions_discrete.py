"""Many discrete dimensions and masks, against SciPy and all actions one by one."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces

from purejaxppo import make_action_head
from purejaxppo.algorithm.sampling import keyed_sampler
from purejaxppo.networks.distributions import (
    check_mask,
    entropy_at,
    fully_masked,
    log_prob_parts,
    temper,
)

NVEC = spaces.MultiDiscrete([2, 4, 3], start=[1, 0, -2])
GRID = spaces.MultiDiscrete(np.full((2, 2), 3))
BITS = spaces.MultiBinary(3)
TABLE = spaces.MultiBinary((2, 2))
SPACES = {"nvec": NVEC, "grid": GRID, "bits": BITS, "table": TABLE}
# For each space, masks of one example; MultiBinary's by pairs (may be 0, may be 1).
MASKS = {
    "one": (spaces.Discrete(4), [1, 0, 1, 0]),
    "single": (spaces.Discrete(4), [0, 0, 1, 0]),
    "nvec": (NVEC, [0, 1, 1, 0, 1, 1, 1, 1, 0]),
    "bits": (BITS, [[1, 0], [1, 1], [0, 1]]),
}


TEMPERATURES = (0.1, 10.0)


def every_action(space: Any):
    """All actions as sampled, `[A, *shape]`."""
    if isinstance(space, spaces.Discrete):
        return jnp.arange(int(space.n))
    nvec = space.nvec if isinstance(space, spaces.MultiDiscrete) else None
    shape = space.shape if nvec is None else nvec.shape
    sizes = [2] * int(np.prod(shape)) if nvec is None else nvec.ravel()
    actions = list(itertools.product(*map(range, sizes)))
    return jnp.array(actions).reshape(-1, *shape)


def logits_of(head, seed=0):
    """Logits of the examples."""
    return 2 * jax.random.normal(jax.random.key(seed), (1, head.num_outputs))


def tiled(x, size):
    """The same for each of `size` rows."""
    x = jnp.asarray(x)
    return jnp.tile(x[None], (size, *[1] * x.ndim))


@functools.cache
def figures(name, masked):
    """A head, all actions, and figures of a distribution for each, made as one."""
    space, mask = MASKS[name]
    head, actions = make_action_head(space), every_action(space)
    mask = tiled(mask, len(actions)) if masked else None

    @jax.jit
    def compute(actions, mask):
        logits = [tiled(logits_of(head, i)[0], len(actions)) for i in (0, 1)]
        p, q = (head.distribution(x, None, mask) for x in logits)
        tempered = [temper(p, t).log_prob(actions) for t in TEMPERATURES]
        return p, {
            "log_prob": p.log_prob(actions),
            "other": q.log_prob(actions),
            "entropy": p.entropy(),
            "mode": p.mode(),
            "kl": p.kl_divergence(q),
            "kl_self": p.kl_divergence(p),
            "tempered": jnp.stack(tempered),
        }

    return head, actions, *compute(actions, mask)


def valid(space, mask, actions):
    """Which actions `[A, *shape]` a mask allows, by the slowest of ways."""
    mask, allowed = np.asarray(mask), []
    for action in np.asarray(actions):
        if isinstance(space, spaces.Discrete):
            allowed.append(mask[action])
        elif isinstance(space, spaces.MultiBinary):
            each = [mask[i][bit] for i, bit in np.ndenumerate(action)]
            allowed.append(all(each))
        else:
            starts = np.concatenate([[0], np.cumsum(space.nvec)[:-1]])
            allowed.append(all(mask[starts + action]))
    return np.array(allowed, bool)


def test_multi_discrete_equals_scipy():
    head, actions, _, got = figures("nvec", masked=False)
    logits = np.asarray(logits_of(head)[0], np.float64)
    log_prob, entropy = np.zeros(len(actions)), 0
    blocks = np.split(logits, [2, 6])
    for d, block in enumerate(blocks):
        p = np.exp(block) / np.exp(block).sum()
        log_prob += np.log(p)[np.asarray(actions[:, d])]
        entropy += scipy.stats.entropy(p)
    assert (head.num_outputs, head.num_scales) == (9, 0)
    assert len(actions) == 24
    np.testing.assert_allclose(got["log_prob"], log_prob, rtol=1e-5)
    np.testing.assert_allclose(got["entropy"], entropy, rtol=1e-5)
    np.testing.assert_array_equal(got["mode"][0], [block.argmax() for block in blocks])


def test_multi_binary_equals_scipy():
    head, actions = make_action_head(TABLE), every_action(TABLE)
    logits = logits_of(head)
    p = (1 / (1 + np.exp(-np.asarray(logits, np.float64)))).reshape(2, 2)
    expected: Any = scipy.stats.bernoulli(p)
    assert (head.num_outputs, head.num_scales, len(actions)) == (4, 0, 16)
    distribution = head.distribution(tiled(logits[0], 16), None)
    log_prob = expected.logpmf(np.asarray(actions)).sum((1, 2))
    np.testing.assert_allclose(distribution.log_prob(actions), log_prob, rtol=1e-5)
    entropy = expected.entropy().sum()
    np.testing.assert_allclose(distribution.entropy(), entropy, rtol=1e-5)
    np.testing.assert_array_equal(distribution.mode()[0], p > 0.5)


@pytest.mark.parametrize("name", SPACES)
def test_what_the_environment_gets_is_of_the_space(name, key):
    space = SPACES[name]
    head = make_action_head(space)

    @jax.jit
    def act(key):
        outputs = jax.random.normal(key, (6, head.num_outputs))
        distribution = head.distribution(outputs, None)
        ahead = head.sampler.sample(distribution, head.sampler.draw(key, (3, 6))[0])
        actions = ahead, distribution.sample(seed=key), distribution.mode()
        parts = log_prob_parts(distribution, ahead)
        return [head.to_env(x) for x in actions], parts, entropy_at(distribution, ahead)

    actions, parts, entropy = act(key)
    assert parts.shape == (6, 1) and entropy.shape == (6,)
    for action in actions:
        assert action.shape == (6, *space.shape)
        assert jnp.issubdtype(action.dtype, jnp.integer)
        assert all(space.contains(np.asarray(x, space.dtype)) for x in action)


def test_start_reaches_the_environment_only():
    head, actions = make_action_head(NVEC), every_action(NVEC)
    expected = np.add(actions, [1, 0, -2])
    np.testing.assert_array_equal(head.to_env(actions), expected)


@pytest.mark.parametrize("name", ["nvec", "bits"])
@pytest.mark.parametrize("masked", [False, True])
def test_samples_follow_the_distribution(name, masked, key):
    head, actions, distribution, got = figures(name, masked)
    times = 4800 // len(actions)

    @jax.jit
    def draw(key):
        samplers = head.sampler, keyed_sampler()
        noises = [x.draw(key, (times, len(actions))) for x in samplers]
        pairs = zip(samplers, noises, strict=True)
        return [jax.vmap(x.sample, (None, 0))(distribution, y) for x, y in pairs]

    p = np.exp(np.asarray(got["log_prob"], np.float64))
    for drawn in draw(key):
        drawn = np.asarray(drawn).reshape(-1, actions.shape[1])
        same = (drawn[:, None] == np.asarray(actions)[None]).all(-1)
        assert (same.sum(1) == 1).all()
        counts, some = same.sum(0), p > 0
        assert (counts[~some] == 0).all() and some.all() != masked
        expected = p[some] / p.sum() * len(drawn)
        assert scipy.stats.chisquare(counts[some], expected).pvalue > 1e-3


@pytest.mark.parametrize("name", MASKS)
def test_masked_is_renormalised_over_the_valid_ones(name):
    space, mask = MASKS[name]
    _, actions, _, free = figures(name, masked=False)
    _, _, _, got = figures(name, masked=True)
    allowed = valid(space, mask, actions)
    assert 0 < allowed.sum() < len(allowed)
    p = np.where(allowed, np.exp(np.asarray(free["log_prob"], np.float64)), 0)
    p = p / p.sum()
    np.testing.assert_allclose(np.exp(got["log_prob"]), p, rtol=1e-5)
    assert (np.exp(got["log_prob"])[~allowed] == 0).all()
    np.testing.assert_allclose(got["entropy"], scipy.stats.entropy(p), atol=1e-5)
    assert valid(space, mask, got["mode"]).all()
    assert name != "single" or (got["entropy"] == 0).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_divergence_is_that_of_the_valid_ones(name, masked):
    _, _, _, got = figures(name, masked)
    log_p, log_q = (np.asarray(got[x], np.float64) for x in ("log_prob", "other"))
    some = np.exp(log_p) > 0
    assert some.all() != masked
    expected = (np.exp(log_p) * (log_p - log_q))[some].sum()
    np.testing.assert_allclose(got["kl"], expected, atol=1e-5)
    np.testing.assert_array_equal(got["kl_self"], 0)


@pytest.mark.parametrize("name", MASKS)
def test_a_temperature_keeps_the_mask(name):
    _, _, _, got = figures(name, masked=True)
    p = np.exp(np.asarray(got["log_prob"], np.float64))
    for temperature, log_prob in zip(TEMPERATURES, got["tempered"], strict=True):
        power = p ** (1 / temperature)
        np.testing.assert_allclose(np.exp(log_prob), power / power.sum(), atol=1e-6)
        assert (np.exp(log_prob)[p == 0] == 0).all()


@pytest.mark.parametrize("name", MASKS)
def test_invalid_logits_have_no_gradient(name):
    space, mask = MASKS[name]
    head, actions = make_action_head(space), every_action(space)
    first = actions[valid(space, mask, actions).argmax()][None]

    def weighted(outputs):
        p, q = (head.distribution(x, None, tiled(mask, 1)) for x in (outputs, -outputs))
        kl = 5 * p.kl_divergence(q) + 7 * q.kl_divergence(p)
        return (p.log_prob(first) + 3 * p.entropy() + kl).sum()

    gradient = np.asarray(jax.jit(jax.grad(weighted))(logits_of(head)))[0]
    assert np.isfinite(gradient).all()
    free = np.asarray(mask, bool)
    # A bit has one logit, which counts where both of its values are valid.
    free = free.all(-1) if name == "bits" else free
    assert (gradient[~free] == 0).all()
    assert name == "single" or (gradient[free] != 0).any()


@pytest.mark.parametrize("name", ["one", "nvec", "bits"])
def test_where_nothing_is_valid_everything_is_as_likely(name, key):
    space, mask = MASKS[name]
    head, actions = make_action_head(space), every_action(space)
    size, nothing = len(actions), np.zeros_like(mask)

    @jax.jit
    def compute(outputs):
        distribution = head.distribution(outputs, None, tiled(nothing, size))
        noise = head.sampler.draw(key, (50, size))
        drawn = jax.vmap(head.sampler.sample, (None, 0))(distribution, noise)
        return distribution.log_prob(actions), distribution.entropy(), drawn

    outputs = tiled(logits_of(head)[0], size)
    log_prob, entropy, drawn = compute(outputs)
    np.testing.assert_allclose(log_prob, -np.log(size), rtol=1e-5)
    np.testing.assert_allclose(entropy, np.log(size), rtol=1e-5)
    drawn = np.asarray(drawn).reshape(50 * size, -1)
    found = np.unique(drawn, axis=0)
    np.testing.assert_array_equal(found, np.asarray(actions).reshape(size, -1))
    gradient = jax.jit(jax.grad(lambda x: sum(y.sum() for y in compute(x)[:2])))
    np.testing.assert_array_equal(gradient(outputs), 0)


def test_masks_are_bools_or_ints_and_may_be_vmapped(key):
    head = make_action_head(NVEC)
    masks = jax.random.bernoulli(key, 0.7, (5, 8, 9))
    outputs = jax.random.normal(key, (5, 8, 9))

    def figures(outputs, mask):
        distribution = head.distribution(outputs, None, mask)
        noise = head.sampler.draw(key, (1, 8))[0]
        action = head.sampler.sample(distribution, noise)
        return distribution.log_prob(action), distribution.entropy()

    every = jax.jit(jax.vmap(figures))
    bools, ints = every(outputs, masks), every(outputs, masks.astype(jnp.int8))
    alone = jax.jit(figures)(outputs[2], masks[2])
    for a, b, c in zip(bools, ints, alone, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a[2], c, rtol=1e-6)
        assert (abs(a) < 50).all()


TREE = spaces.Dict(
    arm=spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,))]),
    bits=BITS,
    grid=NVEC,
)


def test_where_nothing_is_valid():
    one = jnp.array([[1, 0, 0, 1], [0, 0, 0, 0]])
    found = fully_masked(spaces.Discrete(4), one)
    np.testing.assert_array_equal(found, [False, True])
    dims = jnp.array([[1, 0, 0, 0, 0, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(fully_masked(NVEC, dims[None]), [[False, True]])
    bits = jnp.ones((2, 3, 2), bool).at[1, 2].set(False)
    np.testing.assert_array_equal(fully_masked(BITS, bits), [False, True])
    both = {"arm.0": jnp.array([[1, 0, 0], [0, 0, 0]]), "bits": bits[::-1]}
    np.testing.assert_array_equal(fully_masked(TREE, both), [True, True])
    both["bits"] = jnp.ones((2, 3, 2))
    np.testing.assert_array_equal(fully_masked(TREE, both), [False, True])
    assert not fully_masked(TREE, {})


def bits(*shape):
    """A mask's space."""
    return spaces.MultiBinary(shape if shape[1:] else shape[0])


@pytest.mark.parametrize(
    "space, mask",
    [
        (spaces.Discrete(3), bits(3)),
        (NVEC, bits(9)),
        (TABLE, bits(2, 2, 2)),
        (TREE, spaces.Dict({})),
        (TREE, spaces.Dict({"arm.0": bits(3), "bits": bits(3, 2), "grid": bits(9)})),
    ],
)
def test_masks_that_fit(space, mask):
    check_mask(space, mask)


MASK = "observation_space.action_mask"


@pytest.mark.parametrize(
    "space, mask, message",
    [
        (
            spaces.Discrete(3),
            bits(4),
            f"{MASK} to be of shape (3,), as action_space = Discrete(3) needs, "
            "got (4,).",
        ),
        (
            spaces.MultiDiscrete([2, 3]),
            bits(2, 3),
            f"{MASK} to be of shape (5,), as action_space = MultiDiscrete([2 3]) "
            "needs, got (2, 3).",
        ),
        (
            BITS,
            bits(3),
            f"{MASK} to be of shape (3, 2), as action_space = MultiBinary(3) needs, "
            "got (3,).",
        ),
        (
            spaces.Discrete(3),
            spaces.Dict(a=bits(3)),
            f"{MASK} to be of shape (3,), as action_space = Discrete(3) needs, "
            "got Dict('a': MultiBinary(3)).",
        ),
        (
            TREE,
            bits(3),
            f"{MASK} to be a Dict of masks by the paths of action_space's parts, "
            "got MultiBinary(3).",
        ),
        (
            TREE,
            spaces.Dict({"arm.2": bits(3)}),
            f"{MASK} to name parts of action_space, 'arm.0', 'arm.1', 'bits', 'grid', "
            "got 'arm.2'.",
        ),
        (
            TREE,
            spaces.Dict({"arm.0": bits(2)}),
            f"{MASK}.arm.0 to be of shape (3,), as action_space.arm.0 = Discrete(3) "
            "needs, got (2,).",
        ),
        (
            TREE,
            spaces.Dict({"arm.1": bits(2)}),
            f"{MASK}.arm.1 to be left out, as action_space.arm.1 = "
            "Box(-1.0, 1.0, (2,), float32) has no mask, got MultiBinary(2).",
        ),
        (
            spaces.Box(-1, 1, (2,)),
            bits(2),
            f"{MASK} to be left out, as action_space = "
            "Box(-1.0, 1.0, (2,), float32) has no mask, got MultiBinary(2).",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(space, mask, message):
    with pytest.raises(ValueError) as error:
        check_mask(space, mask)
    assert str(error.value) == f"Expected {message}"
