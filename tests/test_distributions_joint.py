"""Actions of several parts and of types with arguments, against all of them in turn."""

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
from purejaxppo.config.choices import POLICIES
from purejaxppo.environments.protocol import Arguments
from purejaxppo.networks.distributions import (
    Sigma,
    entropy_at,
    fully_masked,
    log_prob_parts,
    most_entropy,
    pre_squash_mean,
    temper,
)

# In the order of the parts: go.0, go.1, kind, set.
DISCRETE = spaces.Dict(
    kind=spaces.Discrete(3),
    go=spaces.Tuple([spaces.MultiDiscrete([2, 3]), spaces.Discrete(2, start=5)]),
    set=spaces.MultiBinary(2),
)
# Type 0 uses one dimension of go.0, and go.1; type 1 the other and the bits; 2 nothing.
ARGUMENTS = Arguments(
    type="kind",
    uses={
        "go.0": [[1, 0], [0, 1], [0, 0]],
        "go.1": [1, 0, 0],
        "set": [0, 1, 0],
    },
)
BOX = spaces.Box(-1.0, np.array([1.0, 2.0], np.float32), (2,), np.float32)
SLIDE = spaces.Box(0.0, 3.0, (), np.float32)
HYBRID = spaces.Dict(
    a=spaces.Discrete(3), b=spaces.Tuple([BOX, spaces.MultiBinary(2)]), c=SLIDE
)
USES = Arguments(type="a", uses={"b.0": [[1, 1], [1, 0], [0, 0]], "c": [1, 0, 1]})
OPTIONS: dict[str, dict[str, Any]] = {
    "tanh_mean": {"tanh_mean": True},
    "conditioned": {"sigma": Sigma("conditioned")},
    "tanh_gaussian": {"policy": "tanh_gaussian"},
}


def every_action():
    """All actions of DISCRETE, `[144, ...]`."""
    rows = itertools.product(range(2), range(3), range(2), range(3), range(2), range(2))
    rows = jnp.array(list(rows))
    return {
        "kind": rows[:, 3],
        "go": (rows[:, :2], rows[:, 2]),
        "set": rows[:, 4:],
    }


def effective(actions):
    """What an action comes to, without what its type does not use."""
    kind, (go, turn), bits = actions["kind"], actions["go"], actions["set"]
    rows = zip(*(np.asarray(x).tolist() for x in (kind, go, turn, bits)), strict=True)
    uses = {0: lambda g, t, b: (g[0], t), 1: lambda g, t, b: (g[1], *b)}
    return [(k, *uses.get(k, lambda g, t, b: ())(g, t, b)) for k, g, t, b in rows]


def same(rows):
    """Which of the different ones among `rows` each of them is: 0 or 1, `[rows, k]`."""
    different = sorted(set(rows))
    return np.array([[row == one for one in different] for row in rows], np.float32)


@jax.jit
def figures(p, q, actions):
    """All figures of a distribution, compiled as one."""
    return {
        "log_prob": p.log_prob(actions),
        "parts": log_prob_parts(p, actions),
        "entropy": p.entropy(),
        "entropy_at": entropy_at(p, actions),
        "kl": p.kl_divergence(q),
        "kl_self": p.kl_divergence(p),
    }


def outputs_of(head, size, seed=0):
    """The same random outputs for each of `size` rows."""
    drawn = jax.random.normal(jax.random.key(seed), (1, head.num_outputs))
    return jnp.tile(drawn, (size, 1))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("arguments", [None, ARGUMENTS])
def test_every_action_in_turn(arguments, masked):
    head, actions = make_action_head(DISCRETE, arguments=arguments), every_action()
    mask = None
    if masked:
        mask = {"kind": jnp.array([1, 1, 0]), "go.0": jnp.array([1, 0, 1, 0, 1])}
        mask = {name: jnp.tile(x[None], (144, 1)) for name, x in mask.items()}
    p, q = (head.distribution(outputs_of(head, 144, i), None, mask) for i in (0, 1))
    got = figures(p, q, actions)
    again = figures(q, p, actions)
    # The probability of what an action comes to: sum out what its type does not use.
    plain = make_action_head(DISCRETE)
    full = [
        plain.distribution(outputs_of(head, 144, i), None, mask).log_prob(actions)
        for i in (0, 1)
    ]
    full = [np.exp(np.asarray(x, np.float64)) for x in full]
    np.testing.assert_allclose([x.sum() for x in full], 1, rtol=1e-5)
    rows = list(range(144)) if arguments is None else effective(actions)
    member = same(rows).astype(np.float64)
    p_eff, q_eff = (x @ member for x in full)
    some = p_eff > 0
    np.testing.assert_allclose(np.exp(got["log_prob"]), member @ p_eff, atol=1e-7)
    np.testing.assert_allclose(np.exp(again["log_prob"]), member @ q_eff, atol=1e-7)
    np.testing.assert_allclose(got["parts"].sum(1), got["log_prob"], rtol=1e-6)
    assert got["parts"].shape == (144, 4)
    entropy = scipy.stats.entropy(p_eff)
    np.testing.assert_allclose(got["entropy"], entropy, rtol=1e-5)
    np.testing.assert_array_equal(got["entropy_at"], got["entropy"])
    kl = (p_eff[some] * np.log(p_eff[some] / q_eff[some])).sum()
    np.testing.assert_allclose(got["kl"], kl, rtol=1e-4)
    np.testing.assert_array_equal(got["kl_self"], 0)


def choices_of(mask, name, size):
    """Which of a part's values are valid, one list for each dimension, in turn."""
    flat = np.asarray(mask[name]) if name in mask else np.ones(sum(size))
    return np.split(flat.ravel(), np.cumsum(size)[:-1])


def stuck(mask, arguments):
    """Whether a valid type needs a dimension without a choice, by going through all."""
    sizes = {"kind": [3], "go.0": [2, 3], "go.1": [2], "set": [2, 2]}
    valid = {name: choices_of(mask, name, size) for name, size in sizes.items()}
    types = [k for k in range(3) if valid["kind"][0][k]]
    for kind, (name, size) in itertools.product(types, sizes.items()):
        table = arguments.uses.get(name, [1, 1, 1])
        row = np.broadcast_to(np.ravel(table[kind]), len(size))
        if any(u and not v.any() for u, v in zip(row, valid[name], strict=True)):
            return True
    return not types


ALWAYS = Arguments(type="kind", uses={"go.0": ARGUMENTS.uses["go.0"], "go.1": [0] * 3})


@pytest.mark.parametrize("arguments", [ARGUMENTS, ALWAYS])
@pytest.mark.parametrize("free", [(), ("kind",), ("set", "go.1")])
def test_stuck_is_where_a_valid_type_lacks_a_choice(arguments, free):
    rng = np.random.default_rng(3)
    shapes = {"kind": (3,), "go.0": (5,), "go.1": (2,), "set": (2, 2)}
    masks = {
        name: rng.random((2, 150, *shape)) < 0.6
        for name, shape in shapes.items()
        if name not in free
    }
    got = jax.jit(lambda mask: fully_masked(DISCRETE, mask, arguments))(masks)
    without = fully_masked(DISCRETE, masks)
    expected = np.zeros((2, 150), bool)
    for i in np.ndindex(2, 150):
        row = {name: x[i] for name, x in masks.items()}
        expected[i] = stuck(row, arguments)
    np.testing.assert_array_equal(got, expected)
    # Without arguments every part counts: more is stuck.
    assert (without >= got).all() and 0 < got.sum() < 290
    # Of the first arguments some type uses each; so where all are valid, all count.
    assert (without & ~got).any() == (free != ("kind",) or arguments is ALWAYS)
    assert not fully_masked(DISCRETE, {}, arguments)


def test_most_entropy_is_that_of_what_actions_come_to():
    actions = every_action()
    for arguments in (ARGUMENTS, ALWAYS, Arguments("kind", {}), None):
        uses = {} if arguments is None else arguments.uses
        columns = {
            "go.0": actions["go"][0],
            "go.1": actions["go"][1][:, None],
            "set": actions["set"],
        }
        rows = set()
        for i, kind in enumerate(np.asarray(actions["kind"]).tolist()):
            row = [kind]
            for name, column in columns.items():
                used = np.asarray(uses.get(name, [1, 1, 1]))[kind]
                row += np.where(used, np.asarray(column[i]), -1).tolist()
            rows.add(tuple(row))
        got = most_entropy(DISCRETE, arguments)
        np.testing.assert_allclose(got, np.log(len(rows)), rtol=1e-12)
        assert isinstance(got, float)
    # 2 · 2 + 3 · 4 + 1: each type with its own arguments.
    np.testing.assert_allclose(most_entropy(DISCRETE, ARGUMENTS), np.log(17))


def test_boxes_count_nothing_towards_the_most_entropy():
    np.testing.assert_allclose(most_entropy(HYBRID), np.log(12))
    np.testing.assert_allclose(most_entropy(HYBRID, USES), np.log(12))
    assert most_entropy(BOX) == 0
    np.testing.assert_allclose(
        most_entropy(spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]))), np.log(120)
    )
    with pytest.raises(ValueError, match=r"^Expected a finite space or a Box, got T.*"):
        most_entropy(spaces.Text(3))


def test_no_distribution_has_more_than_the_most_entropy():
    # What each type's probability must be, for its arguments to be uniform: 4, 12, 1.
    head = make_action_head(DISCRETE, arguments=ARGUMENTS)
    logits = jnp.zeros((1, head.num_outputs)).at[0, 7:10].set(jnp.log(np.r_[4, 12, 1]))
    entropy = head.distribution(logits, None).entropy()
    most = most_entropy(DISCRETE, ARGUMENTS)
    np.testing.assert_allclose(entropy, most, rtol=1e-6)
    for noise in (0.1, 1.0):
        near = logits + noise * outputs_of(head, 1)
        assert head.distribution(near, None).entropy() < most


def test_parts_are_those_of_each_part_alone():
    head, actions = make_action_head(DISCRETE, arguments=ARGUMENTS), every_action()
    distribution = head.distribution(outputs_of(head, 144), None)
    parts = np.asarray(log_prob_parts(distribution, actions))
    kind = np.asarray(actions["kind"])
    # In the order of the paths: go.0, go.1, kind, set.
    assert (parts[kind == 2][:, [0, 1, 3]] == 0).all() and (parts[:, 2] < 0).all()
    assert (parts[kind == 0][:, :2] < 0).all() and (parts[kind == 0][:, 3] == 0).all()
    assert (parts[kind == 1][:, [0, 3]] < 0).all() and (
        parts[kind == 1][:, 1] == 0
    ).all()


def test_gradient_of_the_entropy_is_that_of_the_sum():
    # Also by the type, whose probabilities weigh its arguments' entropies.
    head, actions = make_action_head(DISCRETE, arguments=ARGUMENTS), every_action()
    member = jnp.asarray(same(effective(actions)))
    plain = make_action_head(DISCRETE)

    def slow(outputs):
        full = plain.distribution(jnp.tile(outputs, (144, 1)), None).log_prob(actions)
        p = jnp.einsum("a,ae->e", jnp.exp(full), member)
        return -(p * jnp.log(p)).sum()

    def quick(outputs):
        return head.distribution(outputs, None).entropy().sum()

    outputs = outputs_of(head, 1)
    expected, got = (jax.jit(jax.grad(f))(outputs) for f in (slow, quick))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (abs(got) > 1e-3).sum() >= 8


def alone(space, outputs, log_std, **options):
    """Heads and distributions of the parts of HYBRID, made one by one."""
    heads, start, first = [], 0, 0
    for part in (space["a"], *space["b"].spaces, space["c"]):
        mine = options if isinstance(part, spaces.Box) else {}
        head = make_action_head(part, **mine)
        stop, last = start + head.num_outputs, first + head.num_scales
        scale = log_std[first:last] if head.num_scales else None
        heads.append((head, head.distribution(outputs[:, start:stop], scale)))
        start, first = stop, last
    assert (start, first) == (outputs.shape[-1], 0 if log_std is None else log_std.size)
    return heads


@pytest.mark.parametrize("name", OPTIONS)
def test_hybrid_is_the_sum_of_its_parts(name, key):
    options = OPTIONS[name]
    head = make_action_head(HYBRID, **options)
    outputs = jax.random.normal(key, (5, head.num_outputs))
    log_std = jnp.linspace(-1, 0.5, head.num_scales) if head.num_scales else None

    def whole(outputs):
        p, q = head.distribution(outputs, log_std), head.distribution(-outputs, log_std)
        noise = jax.tree.map(lambda x: x[0], head.sampler.draw(key, (1, 5)))
        action = head.sampler.sample(p, noise)
        return action, figures(p, q, action), p.mode(), head.to_env(action)

    def one_by_one(outputs, leaves):
        p = alone(HYBRID, outputs, log_std, **options)
        q = alone(HYBRID, -outputs, log_std, **options)
        return (
            jnp.stack([d.log_prob(x) for (_, d), x in zip(p, leaves, strict=True)], 1),
            sum(d.entropy() for _, d in p),
            sum(a.kl_divergence(b) for (_, a), (_, b) in zip(p, q, strict=True)),
            [d.mode() for _, d in p],
            [h.to_env(x) for (h, _), x in zip(p, leaves, strict=True)],
        )

    action, got, mode, in_env = jax.jit(whole)(outputs)
    parts, entropy, kl, *others = jax.jit(one_by_one)(outputs, jax.tree.leaves(action))
    np.testing.assert_allclose(got["parts"], parts, atol=1e-5)
    np.testing.assert_allclose(got["log_prob"], parts.sum(1), atol=1e-5)
    np.testing.assert_allclose(got["entropy"], entropy, atol=1e-5)
    np.testing.assert_allclose(got["kl"], kl, atol=1e-5)
    pairs = zip(jax.tree.leaves((mode, in_env)), jax.tree.leaves(others), strict=True)
    for x, y in pairs:
        np.testing.assert_allclose(x, y, rtol=1e-6)


def three_types():
    """An action of HYBRID of each type, with the same arguments."""
    return {
        "a": jnp.arange(3),
        "b": (jnp.full((3, 2), 0.4), jnp.ones((3, 2), int)),
        "c": jnp.full(3, 0.7),
    }


@pytest.mark.parametrize("policy", POLICIES)
def test_unused_numbers_count_for_nothing(policy):
    # Against a head for each type, over the dimensions that it uses.
    options, action = {"policy": policy}, three_types()
    head = make_action_head(HYBRID, arguments=USES, **options)
    outputs = jnp.tile(jnp.linspace(-1, 1.5, head.num_outputs)[None], (3, 1))
    log_std = jnp.array([-0.5, 0.3, 0.1]) if head.num_scales else None
    first = spaces.Box(BOX.low[:1], BOX.high[:1], (1,), np.float32)
    width = 2 if policy == "beta" else 1
    # Outputs: 3 of the type, of b.0 each first of two, 2 bits, c.
    columns = [3 + 2 * i for i in range(width)]

    def slow(outputs):
        (_, kind), (_, box), (_, bits), (_, slide) = alone(
            HYBRID, outputs, log_std, **options
        )
        part = make_action_head(first, **options)
        scale = None if log_std is None else log_std[:1]
        some = part.distribution(outputs[:, jnp.array(columns)], scale)
        return kind, box, bits, slide, some

    @jax.jit
    def both(outputs):
        p, q = slow(outputs), slow(-outputs)
        values = *jax.tree.leaves(action), action["b"][0][:, :1]
        log_prob = [d.log_prob(x) for d, x in zip(p, values, strict=True)]
        entropy = [d.entropy() for d in p]
        kl = [d.kl_divergence(e) for d, e in zip(p, q, strict=True)]
        p, q = (head.distribution(x, log_std) for x in (outputs, -outputs))
        expected = [jnp.stack(x) for x in (log_prob, entropy, kl)]
        return expected, jax.nn.softmax(outputs[0, :3]), figures(p, q, action)

    (log_prob, entropy, kl), probs, got = both(outputs)
    kind, box, bits, slide, some = np.asarray(log_prob)
    used = [box[0] + slide[0], some[1], slide[2]]
    np.testing.assert_allclose(got["log_prob"], kind + bits + used, rtol=1e-5)
    for name, figure in {"entropy": entropy, "kl": kl}.items():
        kind, box, bits, slide, some = np.asarray(figure)[:, 0]
        used = np.dot(probs, [box + slide, some, slide])
        np.testing.assert_allclose(got[name], kind + bits + used, rtol=1e-4)


def test_unused_arguments_have_no_gradient():
    head = make_action_head(HYBRID, arguments=USES)
    action = three_types()

    def log_prob(outputs, log_std):
        every = jnp.broadcast_to(log_std, (3, 3))
        one = jax.tree.map(lambda x: x[:, None], action)
        each = jax.vmap(lambda o, s, a: head.distribution(o, s).log_prob(a))
        return each(outputs[:, None], every, one).sum()

    outputs = jnp.tile(jnp.linspace(-1, 1, head.num_outputs)[None], (3, 1))
    by_outputs, by_std = jax.jit(jax.grad(log_prob, (0, 1)))(outputs, jnp.zeros((3, 3)))
    # Outputs: 3 of the type, 2 of b.0, 2 bits, 1 of c. Scales: 2 of b.0, 1 of c.
    used = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1]], bool)
    np.testing.assert_array_equal(by_outputs[:, [3, 4, 7]] != 0, used)
    np.testing.assert_array_equal(by_std != 0, used)


@pytest.mark.parametrize("policy", POLICIES)
def test_actions_are_of_the_space(policy, key):
    head = make_action_head(HYBRID, policy=policy)

    def act(key):
        outputs = 3 * jax.random.normal(key, (4, head.num_outputs))
        log_std = jnp.zeros(head.num_scales) if head.num_scales else None
        distribution = head.distribution(outputs, log_std)
        noise = jax.tree.map(lambda x: x[1], head.sampler.draw(key, (2, 4)))
        keyed = keyed_sampler()
        other = keyed.sample(distribution, keyed.draw(key, (2, 4))[0])
        actions = head.sampler.sample(distribution, noise), other, distribution.mode()
        log_probs = [distribution.log_prob(action) for action in actions]
        return [head.to_env(action) for action in actions], log_probs

    actions, log_probs = jax.jit(jax.vmap(act))(jax.random.split(key, 3))
    for log_prob in log_probs:
        assert log_prob.shape == (3, 4) and np.isfinite(log_prob).all()
    for action in actions:
        assert list(action) == ["a", "b", "c"] and isinstance(action["b"], tuple)
        for i in np.ndindex(3, 4):
            one = jax.tree.map(lambda x, i=i: np.asarray(x[i]), action)
            one["b"] = one["b"][0], one["b"][1].astype(np.int8)
            assert HYBRID.contains(one)


def test_parts_are_drawn_independently(key):
    head = make_action_head(spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]))

    @jax.jit
    def draw(key):
        distribution = head.distribution(jnp.zeros((4000, 4)), None)
        ahead = jax.tree.map(lambda x: x[0], head.sampler.draw(key, (1, 4000)))
        drawn = head.sampler.sample(distribution, ahead)
        return drawn, distribution.sample(seed=key)

    for first, second in draw(key):
        counts = np.bincount(2 * first + second, minlength=4)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_means_go_with_the_bounds():
    outputs, wanted = jnp.arange(16.0).reshape(2, 8), [3, 4, 7]
    for policy in ("gaussian", "tanh_gaussian"):
        head = make_action_head(HYBRID, policy=policy)
        mean = pre_squash_mean(head.distribution(outputs, jnp.zeros(3)))
        np.testing.assert_array_equal(mean, outputs[:, jnp.array(wanted)])
        assert (head.bounds is None) == (policy == "tanh_gaussian")
    bounds = make_action_head(HYBRID).bounds
    assert bounds is not None
    np.testing.assert_allclose(bounds, [[0, 0.5, 1.5], [1, 1.5, 1.5]])
    square = make_action_head(spaces.Box(-1, 1, (2, 3), np.float32)).bounds
    assert square is not None and square[0].shape == (6,)
    head = make_action_head(DISCRETE)
    with pytest.raises(ValueError, match=r"^Expected a Gaussian part, got none\.$"):
        pre_squash_mean(head.distribution(jnp.zeros((2, head.num_outputs)), None))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_temperature_is_every_parts(policy):
    head = make_action_head(HYBRID, policy=policy, arguments=USES)
    outputs = jnp.ones((2, head.num_outputs))
    log_std = jnp.zeros(head.num_scales) if head.num_scales else None
    distribution = head.distribution(outputs, log_std)
    tempered = jax.jit(temper)(distribution, 2.0)
    assert tempered.layout == distribution.layout
    alike = jax.jit(lambda parts: [temper(part, 2.0) for part in parts])
    got, expected = jax.tree.leaves(tempered), alike(distribution.parts)
    before = jax.tree.leaves(distribution)
    for x, y, old in zip(got, jax.tree.leaves(expected), before, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.shape == old.shape
    assert sum((x != y).any() for x, y in zip(got, before, strict=True)) >= 3


def test_a_scheduled_scale_is_every_boxs():
    head = make_action_head(HYBRID, sigma=Sigma("scheduled"))
    assert (head.num_scales, head.scheduled) == (3, True)

    def entropy(log_std):
        return head.distribution(jnp.zeros((1, 8)), log_std).entropy().sum()

    value, gradient = jax.jit(jax.value_and_grad(entropy))(jnp.arange(3.0))
    np.testing.assert_array_equal(gradient, 0)
    each = 0.5 * np.log(2 * np.pi * np.e) + np.arange(3)
    np.testing.assert_allclose(value, each.sum() + np.log([3, 2, 2]).sum(), rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_rows_of_a_joint_are_the_joint_of_those_rows(policy, key):
    head = make_action_head(HYBRID, policy=policy, arguments=USES)

    @jax.jit
    def figures(outputs):
        scales = jnp.zeros(head.num_scales) if head.num_scales else None
        rows = jnp.array([4, 1, 1])
        p, q = (head.distribution(x, scales) for x in (outputs, -outputs))
        action = p.sample(seed=key)
        some = jax.tree.map(lambda x: x[rows], (p, q, action))
        again = [head.distribution(x[rows], scales) for x in (outputs, -outputs)]
        return [
            (p.log_prob(a), p.entropy(), p.kl_divergence(q), temper(p, 2.0).log_prob(a))
            for p, q, a in (some, (*again, some[2]))
        ]

    outputs = jax.random.normal(key, (6, head.num_outputs))
    for got, expected in zip(*figures(outputs), strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.shape == (3,) and got[0] != got[1] == got[2]


TEXT = spaces.Text(3)


@pytest.mark.parametrize(
    "space, options, message",
    [
        (
            spaces.Dict(arm=spaces.Tuple([BOX, TEXT])),
            {},
            "action_space.arm.1 to be Discrete, MultiDiscrete, MultiBinary or a Box of "
            f"floats, got {TEXT}.",
        ),
        (
            spaces.Tuple([spaces.Box(0, 5, (2,), np.int32)]),
            {},
            "action_space.0 to be Discrete, MultiDiscrete, MultiBinary or a Box of "
            "floats, got Box(0, 5, (2,), int32).",
        ),
        (spaces.Tuple([]), {}, "action_space to have parts, got Tuple()."),
        (spaces.Dict({}), {}, "action_space to have parts, got Dict()."),
        (
            spaces.Dict(a=spaces.Box(-np.inf, np.inf, (1,), np.float32)),
            {"policy": "beta"},
            "action_space.a to be bounded for network.policy 'beta', "
            "got Box(-inf, inf, (1,), float32).",
        ),
        (
            DISCRETE,
            {"policy": "beta"},
            "network.policy to be gaussian for a Dict of actions without a Box, "
            "got 'beta'.",
        ),
        (
            spaces.Tuple([spaces.Discrete(2)]),
            {"sigma": Sigma("fixed", 0.5)},
            "network.sigma to be off for a Tuple of actions without a Box, got it on.",
        ),
        (
            spaces.MultiBinary(3),
            {"tanh_mean": True},
            "network.tanh_mean to be False for a MultiBinary action space, got True.",
        ),
        (
            spaces.Discrete(3),
            {"arguments": USES},
            "action_arguments only with a Tuple or Dict of actions, got Discrete(3).",
        ),
        (
            HYBRID,
            {"arguments": Arguments("c", {})},
            "action_arguments.type to be a Discrete part of action_space, of 'a', "
            "got 'c'.",
        ),
        (
            spaces.Tuple([BOX]),
            {"arguments": Arguments("0", {})},
            "action_arguments.type to be a Discrete part of action_space, of which "
            "there is none, got '0'.",
        ),
        (
            HYBRID,
            {"arguments": Arguments("a", {"a": [1, 1, 1]})},
            "action_arguments.uses to leave out the type, got 'a'.",
        ),
        (
            HYBRID,
            {"arguments": Arguments("a", {"b": [1, 1, 1]})},
            "action_arguments.uses to name parts of action_space, of 'a', 'b.0', "
            "'b.1', 'c', got 'b'.",
        ),
        (
            HYBRID,
            {"arguments": Arguments("a", {"b.0": [[1, 1, 1], [0, 0, 0]]})},
            "action_arguments.uses.b.0 to be of shape (3,) or (3, 2), as 3 types and "
            "that part's shape (2,) need, got (2, 3).",
        ),
        (
            HYBRID,
            {"arguments": Arguments("a", {"c": [1, 0]})},
            "action_arguments.uses.c to be of shape (3,), as 3 types and that part's "
            "shape () need, got (2,).",
        ),
        (
            HYBRID,
            {"arguments": Arguments("a", {"c": [1, 0.5, 0]})},
            "action_arguments.uses.c to be of 0 and 1, got 0.5.",
        ),
        (
            HYBRID,
            {"arguments": Arguments("a", {"b.0": [[1, 1], [1, 0], [0]]})},
            "action_arguments.uses.b.0 to be a table of numbers that are no traced "
            "values (a list or a NumPy array), got [[1, 1], [1, 0], [0]].",
        ),
        (
            HYBRID,
            {"arguments": ("a", {"c": [1, 0, 1]})},
            "action_arguments to return an Arguments, got tuple.",
        ),
        (
            spaces.Discrete(3),
            {"arguments": ("a", {})},
            "action_arguments to return an Arguments, got tuple.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(space, options, message):
    with pytest.raises(ValueError) as error:
        make_action_head(space, **options)
    assert str(error.value) == f"Expected {message}"


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_tables_may_be_concrete_arrays_but_not_traced(transform):
    table = jnp.array([1, 0, 1])

    def make(given):
        arguments = Arguments("a", {"b.0": USES.uses["b.0"], "c": given})
        return make_action_head(HYBRID, arguments=arguments)

    def uses(x):
        head = make(table)
        return head.distribution(jnp.zeros((1, head.num_outputs)), jnp.zeros(3)).entropy

    seen = []
    transform(lambda x: (seen.append(uses(x)), x)[1])(jnp.zeros(2))
    assert len(seen) == 1
    message = (
        "Expected action_arguments.uses.c to be a table of numbers that are no traced "
        "values (a list or a NumPy array), got a traced int32"
    )
    rows = jnp.array([[1, 0, 1]])
    wraps = (lambda row: row, "[3]."), (lambda row: [row[0], 0, 1], "[].")
    for wrap, shape in wraps:
        with pytest.raises(ValueError) as error:
            transform(lambda x, wrap=wrap: (make(wrap(x.reshape(3))), x)[1])(rows)
        assert str(error.value) == message + shape
