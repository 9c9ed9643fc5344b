"""All techniques: each number can be traced, and changes what is learned."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from purejaxppo.config.fields import flatten, replace
from tests.techniques import FLOATS, GROUPS, LEAVES, base, jit, train

OTHER = {
    "kl_learning_rate.high": 100.0,
    "kl_learning_rate.low": 0.02,
    "kl_learning_rate.target": 1.0,
    "kl_penalty.high": 100.0,
    "kl_penalty.low": 0.01,
    "kl_penalty.target": 1.0,
    "kl_stop.factor": 1e3,
    "kl_stop.target": 10.0,
    "normalize_value.max_std": 1e-2,
    "normalize_value.min_std": 10.0,
    "vf_clip_eps": 0.02,
}
"""Values for those floats that 0.7 times their own do not show."""


@pytest.fixture(autouse=True, scope="module")
def watched():
    """JAX looks for a NaN that nobody meant, and for keys that are used twice."""
    with jax.debug_nans(True), jax.debug_key_reuse(True):
        yield


def paths(group):
    """What each entry of a group's matrix is: a field, and its place in a tuple."""
    leaves = jax.tree_util.tree_leaves_with_path(GROUPS[group][1])
    return [path[0].key + "".join(map(str, path[1:])) for path, _ in leaves]


def variants(group):
    """The group's numbers as rows: as they are, each one changed, and as they are."""
    numbers = GROUPS[group][1]
    start, unravel = ravel_pytree(numbers)
    other, _ = ravel_pytree(
        {k: OTHER.get(k, jax.tree.map(lambda x: 0.7 * x, numbers[k])) for k in numbers}
    )
    rows = np.tile(np.asarray(start), (start.size + 2, 1))
    np.fill_diagonal(rows[1:-1], other)
    return jnp.asarray(rows), unravel


@functools.cache
def sweep(group):
    """One program for all floats of a group: its runs in one batch."""
    rows, unravel = variants(group)

    @chex.assert_max_traces(n=1)
    def run(row):
        return train(replace(base(group), unravel(row)), jax.random.key(0))

    result = jit(jax.vmap(run))(rows)
    chex.clear_trace_counter()
    return result, [jax.tree.map(lambda x, i=i: x[i], result) for i in range(len(rows))]


def params(result):
    return ravel_pytree(result.state.params)[0]


def assert_same_run(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, np.floating):
            np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-4)


def test_every_float_of_every_technique_is_swept():
    swept = set()
    for group, (_, numbers) in GROUPS.items():
        kinds = flatten(base(group))
        swept |= {(n, kinds.get(n.rpartition(".")[0] + ".kind")) for n in numbers}
    assert swept == {
        (leaf.name, kind)
        for leaf in LEAVES.values()
        if leaf.kind in FLOATS
        for kind in leaf.owners or [None]
    }


@pytest.mark.parametrize("group", GROUPS)
def test_traced_floats_give_what_python_floats_give(group):
    batched, runs = sweep(group)
    assert batched.metrics.finite.all()
    alone = jit(lambda key: train(base(group), key))(jax.random.key(0))
    assert_same_run(runs[0], alone)


def test_a_run_of_a_batch_is_what_it_is_alone():
    rows, unravel = variants("scheduled")
    alone = jit(
        lambda row: train(replace(base("scheduled"), unravel(row)), jax.random.key(0))
    )
    for row, run in zip(rows, sweep("scheduled")[1], strict=True):
        assert_same_run(run, alone(row))


@pytest.mark.parametrize(
    "group, i", [(group, i) for group in GROUPS for i in range(len(paths(group)))]
)
def test_a_float_changes_what_is_learned(group, i):
    _, (start, *changed, same) = sweep(group)
    np.testing.assert_allclose(params(same), params(start), rtol=0, atol=1e-6)
    assert np.abs(params(changed[i]) - params(start)).max() > 1e-5, paths(group)[i]
