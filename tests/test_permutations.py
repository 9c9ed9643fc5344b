"""Permutations without a sort: bijections, and as even as random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo import Config
from purejaxppo.algorithm.learning.epochs import minibatch_rows
from purejaxppo.algorithm.learning.minibatches import balanced_factor, draw_permutations

SIZES = [1, 2, 3, 4, 6, 7, 12, 13, 97, 100, 128, 194, 360, 512, 1000, 1009, 2048, 3000]


@pytest.mark.parametrize("n", SIZES)
def test_each_index_comes_once(n):
    orders = draw_permutations(jax.random.key(n), 20, n)
    assert orders.dtype == jnp.int32
    expected = np.broadcast_to(np.arange(n), (20, n))
    np.testing.assert_array_equal(np.sort(orders, axis=1), expected)


@pytest.mark.parametrize(
    "n, factor", [(1, 1), (2, 1), (7, 1), (12, 3), (36, 6), (512, 16), (2048, 32)]
)
def test_balanced_factor(n, factor):
    assert balanced_factor(n) == factor


def z_scores(counts, trials, rate):
    return (np.asarray(counts) - trials * rate) / np.sqrt(trials * rate * (1 - rate))


@pytest.mark.parametrize("n, minibatches", [(512, 4), (64, 2), (360, 3), (13 * 4, 4)])
def test_indices_meet_minibatches_evenly(n, minibatches):
    trials, size = 4000, n // minibatches
    orders = draw_permutations(jax.random.key(n), trials, n)
    # Which minibatch each index is in, [trials, n].
    place = np.argsort(np.asarray(orders), axis=1) // size

    # Single indices: each minibatch holds each with probability 1 / minibatches.
    counts = np.stack([(place == m).sum(0) for m in range(minibatches)])
    z = z_scores(counts, trials, 1 / minibatches)
    assert np.abs(z).max() < 5.5
    assert 0.8 < z.std() < 1.2

    # Pairs, near and far: together with probability (size - 1) / (n - 1).
    rate = (size - 1) / (n - 1)
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, n, (2, 2000))
    shifts = np.array([1, 2, size, balanced_factor(n), n // balanced_factor(n)])
    i = np.concatenate([i, np.repeat(np.arange(n), len(shifts))])
    j = np.concatenate([j, (np.arange(n)[:, None] + shifts).ravel() % n])
    i, j = i[i != j], j[i != j]
    z = z_scores((place[:, i] == place[:, j]).sum(0), trials, rate)
    assert np.abs(z).max() < 6
    assert abs(z.mean()) < 0.25
    assert 0.8 < z.std() < 1.2


def test_places_are_uniform():
    n, trials = 12, 20_000
    orders = np.asarray(draw_permutations(jax.random.key(0), trials, n))
    counts = np.stack([(orders == i).sum(0) for i in range(n)])
    assert np.abs(z_scores(counts, trials, 1 / n)).max() < 5


def test_each_epoch_uses_each_sample_once_and_epochs_differ():
    config = Config(num_envs=4, num_steps=16, num_epochs=3, num_minibatches=4)
    rows = minibatch_rows(jax.random.key(0), config, 3)
    assert rows.shape == (3, 4, 16)
    epochs = np.asarray(rows).reshape(3, 64)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(64), (3, 1)))
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
