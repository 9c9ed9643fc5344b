"""Directions against optax's and NumPy's Adam; groups, their rates and their pauses."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purejaxppo.algorithm.learning import optimizers
from purejaxppo.algorithm.learning.gradient_clipping import (
    clip_by_momentum,
    clip_by_norm,
    ignore_by_norm,
)
from purejaxppo.study.devices.processes import named
from purejaxppo.study.storage.files import read_tree, write_tree

LABELS = {"torso": "shared", "pi": "actor", "log_std": "actor", "v": "critic"}
EPS = {"shared": 1e-5, "actor": 1e-8, "critic": 1e-6}


def make_optimizer(max_grad_norm, adam_eps, guards=(), weight_decay=None):
    """What the config's defaults, and a few others, are made into."""
    if max_grad_norm is not None:
        guards = [*guards, optax.clip_by_global_norm(max_grad_norm)]
    return optimizers.guarded(guards, optimizers.adam(adam_eps, weight_decay))


def groups(params):
    return {name: LABELS[name] for name in params}  # a prefix: a label for all of "v"


def tree(seed, steps=None):
    """Parameters, or gradients over time."""
    rng = np.random.default_rng(seed)
    lead = () if steps is None else (steps,)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=(*lead, *shape)), jnp.float32)

    v = {"kernel": draw(3, 1), "bias": draw(1)}
    return {"torso": draw(2, 3), "pi": draw(3, 2), "log_std": draw(2), "v": v}


PARAMS, GRADS = tree(0), tree(1, steps=6)


def run(optimizer, rates=0.1, params=PARAMS, grads=GRADS, labels=None) -> Any:
    """Parameters and state after one step a gradient."""

    def step(carry, g):
        params, state = carry
        direction, state = optimizer.update(g, state, params)
        return (optimizers.descend(params, direction, rates, labels), state), None

    start = params, jax.jit(optimizer.init)(params)
    return jax.lax.scan(step, start, grads)[0]


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, **tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(
            x, y, **{"rtol": 1e-5, "atol": 1e-6, **tolerance}
        ),
        a,
        b,
    )


def all_adams(eps=EPS, weight_decay=None, guards=()):
    decay = weight_decay or {}
    transforms = {
        label: optimizers.guarded(guards, optimizers.adam(e, decay.get(label)))
        for label, e in eps.items()
    }
    return optimizers.grouped(transforms, groups)


def program(optimizer, with_params=True):
    def steps(grads, params):
        state = optimizer.init(params)
        return optimizer.update(grads, state, *([params] if with_params else []))

    return str(jax.make_jaxpr(steps)(PARAMS, PARAMS))


@pytest.mark.parametrize("with_params", [False, True])
def test_the_default_is_clip_then_adam(with_params):
    chain = optax.chain(optax.clip_by_global_norm(0.5), optax.scale_by_adam(eps=1e-5))
    ours = make_optimizer(0.5, 1e-5)
    assert program(ours, with_params) == program(chain, False)
    equal(ours.init(PARAMS), chain.init(PARAMS))
    plain = optax.scale_by_adam(eps=1e-5)
    ours = make_optimizer(None, 1e-5)
    assert program(ours, with_params) == program(plain, False)
    equal(ours.init(PARAMS), plain.init(PARAMS))


def test_guards_see_the_gradient_before_the_clip():
    ignoring = make_optimizer(0.5, 1e-5, guards=[ignore_by_norm(1.0)])
    equal(run(ignoring)[0], PARAMS)  # after the clip, .5 < 1 would pass
    equal(run(ignoring, grads=jax.tree.map(lambda g: g * jnp.nan, GRADS))[0], PARAMS)
    patient = make_optimizer(0.5, 1e-5, guards=[ignore_by_norm(1e9)])
    equal(run(patient)[0], run(make_optimizer(0.5, 1e-5))[0])


def adam_by_numpy(theta, grads, eps, weight_decay, rate=0.1):
    """Adam as torch has it, coupled decay and all."""
    theta = np.asarray(theta, np.float64)
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(np.asarray(grads, np.float64), 1):
        g = g + weight_decay * theta
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        theta = theta - rate * m_hat / (np.sqrt(v_hat) + eps)
    return theta


@pytest.mark.parametrize("weight_decay", [None, 0.3])
def test_adam_and_coupled_decay_equal_torchs_formula(weight_decay):
    params, _ = run(optimizers.adam(1e-5, weight_decay))
    numpy = partial(adam_by_numpy, eps=1e-5, weight_decay=weight_decay or 0)
    close(params, jax.tree.map(numpy, PARAMS, GRADS), rtol=1e-4, atol=1e-5)
    decoupled = optax.chain(
        optax.scale_by_adam(eps=1e-5), optax.add_decayed_weights(weight_decay or 0)
    )
    differs = np.abs(params["pi"] - run(decoupled)[0]["pi"]).max() > 1e-2
    assert differs == (weight_decay is not None)


def test_decay_is_the_gradient_of_a_penalty():
    """l2 Σ θ² in the loss is a weight decay of 2 l2."""
    optimizer = optimizers.adam(1e-5, 2 * 0.3)
    first = jax.tree.map(lambda g: g[0], GRADS)
    penalty = jax.grad(lambda p: 0.3 * sum((x**2).sum() for x in jax.tree.leaves(p)))
    summed = jax.tree.map(jnp.add, first, penalty(PARAMS))
    plain = optimizers.adam(1e-5)
    close(
        optimizer.update(first, optimizer.init(PARAMS), PARAMS)[0],
        plain.update(summed, plain.init(PARAMS))[0],
    )


def test_decay_needs_the_parameters_and_escapes_the_guards():
    optimizer = make_optimizer(1e-9, 1e-5, weight_decay=0.5)
    with pytest.raises(ValueError):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    direction, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    close(direction, jax.tree.map(jnp.sign, PARAMS), rtol=1e-3)  # decay is not clipped


def part(x, label):
    return {name: leaf for name, leaf in x.items() if LABELS[name] == label}


def test_grouped_adams_equal_separate_adams():
    decay = {"critic": 0.1}
    params, state = run(all_adams(weight_decay=decay))
    assert set(state.inner_states) == set(EPS)
    for label, eps in EPS.items():
        alone = run(
            optimizers.adam(eps, decay.get(label)),
            params=part(PARAMS, label),
            grads=part(GRADS, label),
        )
        equal(part(params, label), alone[0])


def test_labels_without_parameters_or_without_transform():
    params, grads = part(PARAMS, "actor"), part(GRADS, "actor")
    alone = run(optimizers.adam(1e-8), params=params, grads=grads)[0]
    guards = (clip_by_norm(1e9), clip_by_norm(1e9, None), clip_by_momentum(1e9))
    equal(run(all_adams(guards=guards), params=params, grads=grads)[0], alone)
    with pytest.raises(ValueError, match=r"among \['actor', 'critic'\], got 'shared'"):
        all_adams({"actor": 1e-8, "critic": 1e-8}).init(PARAMS)


def test_scope_of_a_guard():
    """Jointly all are ignored for the critic's gradient; by groups, its own are."""
    guard = ignore_by_norm(10.0)
    grads = {**GRADS, "v": jax.tree.map(lambda g: g * 1e3, GRADS["v"])}
    joint, _ = run(optimizers.guarded([guard], all_adams()), grads=grads)
    equal(joint, PARAMS)
    by_group, _ = run(all_adams(guards=[guard]), grads=grads)
    equal(by_group["v"], PARAMS["v"])
    free, _ = run(all_adams(), grads=grads)
    equal({**by_group, "v": ()}, {**free, "v": ()})
    assert (by_group["pi"] != PARAMS["pi"]).all()


def test_scope_of_a_norm_by_hand():
    grads = {"pi": jnp.float32([3.0]), "v": jnp.float32([4.0])}
    clip = clip_by_norm(1.0)
    names = optimizers.grouped({"actor": clip, "critic": clip}, groups)
    close(names.update(grads, names.init(grads))[0], {"pi": [1.0], "v": [1.0]})
    close(clip.update(grads, clip.init(grads))[0], {"pi": [0.6], "v": [0.8]})


RATES = {"shared": 0.1, "actor": 0.2, "critic": 0.3}


def test_rates_of_groups():
    direction = tree(2)
    one = optimizers.descend(PARAMS, direction, 0.1)
    many = optimizers.descend(PARAMS, direction, RATES, groups(PARAMS))
    equal(one["torso"], many["torso"])
    for name, label in LABELS.items():
        step = jax.tree.map(jnp.subtract, PARAMS[name], many[name])
        expected = jax.tree.map(lambda d, label=label: RATES[label] * d, direction)
        close(step, expected[name])
    equal(optimizers.descend(PARAMS, direction, dict.fromkeys(RATES, 0.1), LABELS), one)
    full = jax.tree.map(lambda label, x: jax.tree.map(lambda _: label, x), LABELS, one)
    equal(optimizers.descend(PARAMS, direction, RATES, full), many)


def test_one_rate_is_the_plain_step():
    def plain(params, direction, learning_rate):
        return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)

    arguments = PARAMS, PARAMS, jnp.float32(0.1)
    ours = jax.make_jaxpr(optimizers.descend)(*arguments)
    assert str(ours) == str(jax.make_jaxpr(plain)(*arguments))


def test_rates_without_labels_and_labels_without_rates():
    with pytest.raises(ValueError, match="got None"):
        optimizers.descend(PARAMS, PARAMS, RATES)
    with pytest.raises(ValueError, match=r"group 'critic', got \['actor', 'shared'\]"):
        optimizers.scale_by_group(PARAMS, {"actor": 1.0, "shared": 1.0}, LABELS)


def one_step(optimizer, carry, grads, paused):
    params, state = carry
    direction, new_state = optimizer.update(grads, state, params)
    new = optimizers.descend(params, direction, 0.1)
    return (
        optimizers.hold_params(new, params, groups(params), paused),
        optimizers.hold_state(new_state, state, paused),
    )


@pytest.mark.parametrize("joint", [False, True], ids=["groups", "joint"])
def test_a_paused_group_stands_still_and_the_others_do_not(joint):
    guard = clip_by_momentum(1.0, 0.9, 1)
    optimizer = all_adams(guards=() if joint else [guard])
    optimizer = optimizers.guarded([guard] if joint else [], optimizer)

    @jax.jit
    def step(carry, grads, paused):
        return one_step(optimizer, carry, grads, {"actor": paused})

    def grouped_state(carry):
        return (carry[1][1] if joint else carry[1]).inner_states

    first, *rest = [jax.tree.map(lambda g, i=i: g[i], GRADS) for i in range(6)]
    start = step((PARAMS, optimizer.init(PARAMS)), first, False)
    carry, free = start, start
    for grads in rest:
        carry, free = step(carry, grads, True), step(free, grads, False)
    for name, label in LABELS.items():
        equal(carry[0][name], (start if label == "actor" else free)[0][name])
    for label, state in grouped_state(carry).items():
        equal(state, grouped_state(start if label == "actor" else free)[label])
    counts = [x for x in jax.tree.leaves(grouped_state(carry)["actor"]) if x.ndim == 0]
    assert counts and all(count == 1 for count in counts)
    resumed = step(carry, first, False)
    assert (resumed[0]["pi"] != carry[0]["pi"]).all()


def test_a_pause_keeps_even_nan_out():
    bad = jax.tree.map(lambda g: g[0] * jnp.nan, GRADS)
    start = PARAMS, all_adams().init(PARAMS)
    paused = dict.fromkeys(EPS, jnp.bool_(True))
    equal(one_step(all_adams(), start, bad, paused), start)


def test_no_pause_adds_nothing():
    def plain(carry, grads):
        direction, state = all_adams().update(grads, carry[1], carry[0])
        return optimizers.descend(carry[0], direction, 0.1), state

    def program(step, **options):
        carry = PARAMS, all_adams().init(PARAMS)
        return str(jax.make_jaxpr(partial(step, **options))(carry, PARAMS))

    step = partial(one_step, all_adams())
    for paused in ({}, {"actor": None}, {"nobody": jnp.bool_(True)}):
        assert program(step, paused=paused) == program(plain)
    assert program(step, paused={"actor": False}) != program(plain)


def test_a_pause_needs_groups():
    state = make_optimizer(0.5, 1e-5).init(PARAMS)
    with pytest.raises(ValueError, match="state of `grouped`, got tuple"):
        optimizers.hold_state(state, state, {"actor": True})
    equal(optimizers.hold_state(state, state, {"actor": None}), state)


def full(number, paused):
    """A step of everything at once, all of its numbers traced."""
    optimizer = optimizers.guarded(
        [ignore_by_norm(number * 100), clip_by_norm(number)],
        all_adams(
            {"shared": number, "actor": number / 2, "critic": number / 3},
            dict.fromkeys(EPS, number),
            [clip_by_norm(number / 2, None), clip_by_momentum(number, number, 1)],
        ),
    )
    rates = {label: rate * number for label, rate in RATES.items()}

    def step(carry, grads):
        params, state = carry
        direction, new_state = optimizer.update(grads, state, params)
        new = optimizers.descend(params, direction, rates, LABELS)
        new = optimizers.hold_params(new, params, LABELS, {"actor": paused})
        new_state = optimizers.hold_state(new_state, state, {"actor": paused})
        return (new, new_state), None

    start = PARAMS, jax.jit(optimizer.init)(PARAMS)
    return jax.lax.scan(step, start, GRADS)[0]


NUMBERS, PAUSES = jnp.float32([0.1, 0.5, 0.9]), jnp.bool_([False, True, False])


def test_one_trace_for_all_numbers():
    traces = []

    def count(number, paused):
        traces.append(number)
        return full(number, paused)

    many = jax.jit(jax.vmap(count))(NUMBERS, PAUSES)
    assert len(traces) == 1
    for i, (number, paused) in enumerate(zip(NUMBERS, PAUSES, strict=True)):
        alone = full(float(number), bool(paused))
        close(jax.tree.map(lambda x, i=i: x[i], many), alone, rtol=1e-4)
    assert (many[0]["pi"][0] != many[0]["pi"][2]).all()
    equal(many[0]["pi"][1], PARAMS["pi"])


def test_states_are_saved_and_restored(tmp_path):
    carry = jax.jit(jax.vmap(full))(NUMBERS, PAUSES)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(carry))
    write_tree(tmp_path / "state", named(carry))
    equal(read_tree(tmp_path / "state"), named(carry))
