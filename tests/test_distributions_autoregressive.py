"""Policies whose parts see earlier ones, against all their actions one by one."""

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
from purejaxppo.environments.protocol import Arguments
from purejaxppo.networks.distributions import (
    Autoregressive,
    entropy_at,
    log_prob_parts,
    pre_squash_mean,
    temper,
)
from purejaxppo.networks.policy_head import Policy

NVEC = spaces.MultiDiscrete([2, 3, 2], start=[0, 4, 0])
# In the order of the parts: at, bits, type; so the type comes behind its arguments.
TREE = spaces.Dict(
    type=spaces.Discrete(3),
    at=spaces.MultiDiscrete([2, 3]),
    bits=spaces.MultiBinary(2),
)
# Parts of types 0 and 2 see choices that these do not use.
ARGUMENTS = Arguments(
    type="type",
    uses={"at": [[1, 0], [1, 1], [0, 1]], "bits": [[1, 0], [1, 1], [0, 0]]},
)
HYBRID = spaces.Tuple(
    [
        spaces.Discrete(2),
        spaces.Box(-1.0, 3.0, (2,), np.float32),
        spaces.Box(0.0, 1.0, (), np.float32),
    ]
)
SIZE = 4


def make(space, pairs=("all",), **options):
    """A head, its policy, and random parameters; features are `[batch, 4]`."""
    head = make_action_head(space, autoregressive=pairs, **options)
    policy = Policy(head, 0.0)
    x = jnp.zeros((1, SIZE))
    params: Any = policy.init(jax.random.key(0), x)["params"]
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    drawn = [0.7 * jax.random.normal(key, leaf.shape) for leaf, key in pairs]
    return head, policy, jax.tree.unflatten(structure, drawn)


def every_action(space):
    """All actions as sampled, and the same as rows of an array."""
    sizes = (2, 3, 2) if space is NVEC else (2, 3, 2, 2, 3)
    rows = jnp.array(list(itertools.product(*map(range, sizes))))
    if space is NVEC:
        return rows, rows
    return {"at": rows[:, :2], "bits": rows[:, 2:4], "type": rows[:, 4]}, rows


def figures_of(space, pairs=("all",), mask=None, **options):
    """Figures of all actions after one observation, compiled as one."""
    head, policy, params = make(space, pairs, **options)
    actions, rows = every_action(space)
    features = jnp.tile(jnp.linspace(-1, 1, SIZE)[None], (len(rows), 1))
    if mask is not None:
        mask = jax.tree.map(
            lambda x: jnp.tile(jnp.array(x)[None], (len(rows), 1)), mask
        )

    @jax.jit
    def figures(params, features, actions, mask):
        distribution: Any = policy.apply({"params": params}, features, mask)
        parts = log_prob_parts(distribution, actions)
        entropy = entropy_at(distribution, actions)
        flatter: Any = temper(temper(distribution, 4.0), 0.5)
        return distribution, distribution.log_prob(actions), parts, entropy, flatter

    return head, rows, figures(params, features, actions, mask)


def test_every_action_in_turn():
    _, _, (distribution, log_prob, parts, entropy, _) = figures_of(NVEC)
    p = np.exp(np.asarray(log_prob, np.float64))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(parts.sum(1), log_prob, atol=1e-5)
    assert parts.shape == (12, 3)
    # Part i is what remains of the probability, given the earlier ones.
    table = p.reshape(2, 3, 2)
    marginals = [table.sum((1, 2), keepdims=True), table.sum(2, keepdims=True), table]
    given = [marginals[0], marginals[1] / marginals[0], table / marginals[1]]
    for i, expected in enumerate(given):
        expected = np.broadcast_to(expected, table.shape).ravel()
        np.testing.assert_allclose(np.exp(parts[:, i]), expected, rtol=1e-4)
    assert abs(given[2][0] - given[2][1]).max() > 0.05
    np.testing.assert_allclose(p @ entropy, scipy.stats.entropy(p), rtol=1e-5)
    # Of each part given the earlier choices, whatever its own.
    each = [-(x * np.log(x)).sum(i, keepdims=True) for i, x in enumerate(given)]
    expected = np.broadcast_to(sum(each), table.shape).ravel()
    np.testing.assert_allclose(entropy, expected, rtol=1e-4)
    assert not hasattr(distribution, "kl_divergence")
    with pytest.raises(AttributeError, match=r"no entropy; entropy_at"):
        distribution.entropy()
    assert not hasattr(distribution, "entropy")
    with pytest.raises(ValueError, match=r"be Gaussian, got Autoregressive\.$"):
        pre_squash_mean(distribution)


def test_start_reaches_the_environment_only():
    head = make_action_head(NVEC, autoregressive=("all",))
    actions = jnp.array([[0, 2, 1], [1, 0, 0]])
    np.testing.assert_array_equal(head.to_env(actions), [[0, 6, 1], [1, 4, 0]])


def test_parts_see_what_they_are_told_to():
    _, _, (_, _, parts, _, _) = figures_of(NVEC, ("2:0", "1:0"))
    given = np.exp(np.asarray(parts)[:, 2]).reshape(2, 3, 2)
    np.testing.assert_allclose(given, given[:, :1].repeat(3, 1), rtol=1e-5)
    assert abs(given[0] - given[1]).max() > 0.05
    _, _, (_, _, parts, _, _) = figures_of(NVEC, ("2:1",))
    given = np.exp(np.asarray(parts)[:, 2]).reshape(2, 3, 2)
    np.testing.assert_allclose(given, given[:1].repeat(2, 0), rtol=1e-5)
    second = np.exp(np.asarray(parts)[:, 1]).reshape(2, 3, 2)
    np.testing.assert_allclose(second[0], second[1], rtol=1e-5)


def test_masks_are_kept():
    mask = jnp.array([1, 1, 1, 0, 1, 1, 1])
    _, rows, (_, log_prob, _, entropy, tempered) = figures_of(NVEC, mask=mask)
    p = np.exp(np.asarray(log_prob, np.float64))
    assert ((p == 0) == np.asarray(rows[:, 1] == 1)).all()
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    some = p > 0
    np.testing.assert_allclose(
        (p * entropy)[some].sum(), scipy.stats.entropy(p[some]), rtol=1e-5
    )
    q = np.exp(np.asarray(tempered.log_prob(rows), np.float64))
    assert ((q == 0) == (p == 0)).all()
    np.testing.assert_allclose(q.sum(), 1, rtol=1e-5)


def test_a_temperature_is_every_parts():
    # Logits over 4 · 0.5: each part given the earlier ones to the power of a half.
    _, rows, (_, _, parts, _, tempered) = figures_of(NVEC)
    flat = np.exp(np.asarray(parts, np.float64) / 2).reshape(2, 3, 2, 3)
    expected = 1
    for i in range(3):
        expected = expected * flat[..., i] / flat[..., i].sum(i, keepdims=True)
    got = np.exp(tempered.log_prob(rows)).reshape(2, 3, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def effective(rows):
    """What an action comes to, without what its type does not use by ARGUMENTS."""
    columns = {0: (4, 0, 2), 1: (4, 0, 1, 2, 3), 2: (4, 1)}
    return [tuple(row[i] for i in columns[row[4]]) for row in rows.tolist()]


@pytest.mark.parametrize("masked", [False, True])
def test_unused_parts_count_for_nothing(masked):
    mask = None
    if masked:
        mask = {"type": jnp.array([1, 1, 1]), "at": jnp.array([1, 1, 1, 0, 1])}
    _, rows, (distribution, log_prob, parts, entropy, _) = figures_of(
        TREE, mask=mask, arguments=ARGUMENTS
    )
    once = {key: i for i, key in enumerate(effective(rows))}
    p = np.exp(np.asarray(log_prob, np.float64))
    np.testing.assert_allclose(p, [p[once[key]] for key in effective(rows)], rtol=1e-6)
    first = np.array(list(once.values()))
    assert len(first) < len(rows)
    np.testing.assert_allclose(p[first].sum(), 1, rtol=1e-5)
    some = first[p[first] > 0]
    np.testing.assert_allclose(
        (p * entropy)[some].sum(), scipy.stats.entropy(p[some]), rtol=1e-5
    )
    kind = np.asarray(rows[:, 4])
    # In the order of the paths: at, bits, type.
    assert (parts[kind == 2][:, 1] == 0).all() and (parts[kind == 1][:, 1] < 0).all()
    assert distribution.model.order == (2, 0, 1)


def draws(space, **options):
    """4000 actions of one observation by either sampler, and the mode."""
    head, policy, params = make(space, **options)
    features = jnp.tile(jnp.linspace(-1, 1, SIZE)[None], (4000, 1))

    @jax.jit
    def draw(key):
        distribution: Any = policy.apply({"params": params}, features)
        noise = jax.tree.map(lambda x: x[1], head.sampler.draw(key, (2, 4000)))
        ahead = head.sampler.sample(distribution, noise)
        keyed = keyed_sampler()
        other = keyed.sample(distribution, keyed.draw(key, (1, 4000))[0])
        return ahead, other, jax.tree.map(lambda x: x[0], distribution.mode())

    return draw(jax.random.key(3))


def test_samples_follow_the_distribution():
    _, _, (_, log_prob, parts, _, _) = figures_of(NVEC)
    *both, mode = draws(NVEC)
    p = np.exp(np.asarray(log_prob, np.float64))
    for drawn in both:
        index = np.ravel_multi_index(np.asarray(drawn).T, (2, 3, 2))
        counts = np.bincount(index, minlength=12)
        expected = p / p.sum() * len(drawn)
        assert expected.min() > 4
        assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    table = np.asarray(parts).reshape(2, 3, 2, 3)
    a = table[:, 0, 0, 0].argmax()
    b = table[a, :, 0, 1].argmax()
    np.testing.assert_array_equal(mode, [a, b, table[a, b, :, 2].argmax()])


def test_arguments_are_drawn_behind_their_type():
    _, rows, (_, log_prob, _, _, _) = figures_of(TREE, arguments=ARGUMENTS)
    p = {
        key: float(np.exp(x)) for key, x in zip(effective(rows), log_prob, strict=True)
    }
    *both, _ = draws(TREE, arguments=ARGUMENTS)
    for drawn in both:
        each = jnp.concatenate([drawn["at"], drawn["bits"], drawn["type"][:, None]], 1)
        found = effective(np.asarray(each))
        counts = np.array([found.count(key) for key in p])
        expected = np.array(list(p.values()))
        assert (
            scipy.stats.chisquare(counts, expected * 4000 / expected.sum()).pvalue
            > 1e-3
        )


def numpy_policy(params, x, action):
    """ln p of an action of HYBRID, written out for one observation."""
    kind, where, how = action
    log_std = params["log_std"]
    seen = [np.zeros(0), np.eye(2)[kind], np.concatenate([np.eye(2)[kind], where])]
    outputs = []
    for i, codes in enumerate(seen):
        hidden = params[f"hidden_{i}"]
        h = x @ hidden["kernel"] + hidden["bias"]
        if codes.size:
            h = h + codes @ params[f"choice_{i}"]["kernel"]
        last = params[f"output_{i}"]
        outputs.append(np.maximum(h, 0) @ last["kernel"].T + last["bias"])
    logits, first, second = outputs
    return (
        logits[kind] - np.log(np.exp(logits).sum()),
        scipy.stats.norm.logpdf(where, first, np.exp(log_std[:2])).sum(),
        scipy.stats.norm.logpdf(how, second[0], np.exp(log_std[2])),
    )


def test_numbers_are_seen_too():
    head, policy, params = make(HYBRID, activation="relu")
    assert isinstance(head.num_scales, int) and head.num_scales == 3
    features = np.array([[0.5, -1.0, 2.0, 0.3], [1.0, 0.2, -0.7, 0.1]], np.float32)
    action = (
        jnp.array([1, 0]),
        jnp.array([[0.3, -2.0], [5.0, 0.7]]),
        jnp.array([0.2, -0.4]),
    )
    distribution = policy.apply({"params": params}, jnp.asarray(features))
    assert isinstance(distribution, Autoregressive)
    plain = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    # Both rows are narrower than the hidden layer: the kernels are `[outputs, 4]`.
    expected = [
        numpy_policy(plain, x, jax.tree.map(lambda y, i=i: np.asarray(y[i]), action))
        for i, x in enumerate(features)
    ]
    got = jax.jit(log_prob_parts)(distribution, action)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_actions_are_of_the_space_under_vmap(key):
    head, policy, params = make(HYBRID, policy="tanh_gaussian")

    def act(params, key):
        features = jax.random.normal(key, (3, SIZE))
        distribution: Any = policy.apply({"params": params}, features)
        noise = jax.tree.map(lambda x: x[0], head.sampler.draw(key, (1, 3)))
        action = head.sampler.sample(distribution, noise)
        figures = distribution.log_prob(action), entropy_at(distribution, action)
        return head.to_env(action), figures

    many = jax.tree.map(lambda x: jnp.stack([x, -x]), params)
    keys = jax.random.split(key)
    action, figures = jax.jit(jax.vmap(act))(many, keys)
    for x in figures:
        assert x.shape == (2, 3) and np.isfinite(x).all()
    for i in np.ndindex(2, 3):
        assert HYBRID.contains(jax.tree.map(lambda x, i=i: np.asarray(x[i]), action))
    alone = jax.jit(act)(jax.tree.map(lambda x: -x, params), keys[1])
    for x, y in zip(
        jax.tree.leaves((action, figures)), jax.tree.leaves(alone), strict=True
    ):
        np.testing.assert_allclose(x[1], y, atol=1e-5)


def test_parameters_have_their_names():
    _, _, params = make(HYBRID, ("2:0",))
    shapes = {
        "/".join(str(key.key) for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    hidden = {
        f"hidden_{i}/{name}": shape
        for i in range(3)
        for name, shape in {"kernel": (4, 4), "bias": (4,)}.items()
    }
    widths = {"output_0": 2, "output_1": 2, "output_2": 1}
    outputs = {f"{name}/kernel": (n, 4) for name, n in widths.items()}
    biases = {f"{name}/bias": (n,) for name, n in widths.items()}
    rest = {"choice_2/kernel": (2, 4), "log_std": (3,)}
    assert shapes == hidden | outputs | biases | rest


def test_the_plain_policy_is_one_layer():
    head = make_action_head(HYBRID)
    policy = Policy(head, -0.5)
    x = jnp.ones((2, SIZE))
    params: Any = policy.init(jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "output": {"kernel": (4, 5), "bias": (5,)},
        "log_std": (3,),
    }
    assert list(params) == ["output", "log_std"]
    np.testing.assert_array_equal(params["log_std"], -0.5)
    mask = {"0": jnp.array([[0, 1], [1, 0]])}
    distribution: Any = policy.apply({"params": params}, x, mask)
    np.testing.assert_array_equal(distribution.mode()[0], [1, 0])


FIELD = "network.autoregressive"


@pytest.mark.parametrize(
    "space, pairs, message",
    [
        (
            NVEC,
            ("some",),
            f"{FIELD} to be all, or pairs later:earlier of '0', '1', '2', got 'some'.",
        ),
        (
            NVEC,
            ("all", "1:0"),
            f"{FIELD} to be all, or pairs later:earlier of '0', '1', '2', got 'all'.",
        ),
        (NVEC, ("3:0",), f"{FIELD} to name '0', '1', '2', got '3' in '3:0'."),
        (
            TREE,
            ("bits:to",),
            f"{FIELD} to name 'at', 'bits', 'type', got 'to' in 'bits:to'.",
        ),
        (
            NVEC,
            ("1:0", "0:1"),
            f"{FIELD} to let parts see earlier ones only, in the order '0', '1', '2', "
            "got '0:1'.",
        ),
        (
            TREE,
            ("at:at",),
            f"{FIELD} to let parts see earlier ones only, in the order 'at', 'bits', "
            "'type', got 'at:at'.",
        ),
        (
            spaces.Discrete(3),
            ("all",),
            f"{FIELD} only with MultiDiscrete, Tuple or Dict actions, got ('all',) for "
            "Discrete(3).",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(space, pairs, message):
    with pytest.raises(ValueError) as error:
        make_action_head(space, autoregressive=pairs)
    assert str(error.value) == f"Expected {message}"


def test_a_type_is_drawn_before_its_arguments():
    with pytest.raises(ValueError) as error:
        make_action_head(TREE, autoregressive=("type:at",), arguments=ARGUMENTS)
    assert "in the order 'type', 'at', 'bits', got 'type:at'." in str(error.value)
