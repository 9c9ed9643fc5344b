"""Orthogonal weights without LAPACK: exact, rightly distributed, and never hanging."""

import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purejaxppo.config.choices import ACTIVATIONS
from purejaxppo.networks.initializers import (
    GAINS,
    activation_gain,
    kaiming,
    lecun,
    normal,
    normals,
    orthogonal,
    orthonormal_columns,
    xavier,
)


@pytest.mark.parametrize("shape", [(64, 64), (128, 16), (4, 64), (1, 5), (5, 1)])
def test_shorter_side_is_orthonormal(shape, key):
    q = np.asarray(orthogonal(jax.random.normal(key, shape)), np.float64)
    gram = q.T @ q if shape[0] >= shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-5)


def test_leading_axes_are_rows(key):
    kernel = orthogonal(jax.random.normal(key, (3, 3, 4, 16)))
    assert kernel.shape == (3, 3, 4, 16)
    q = np.asarray(kernel).reshape(36, 16)
    np.testing.assert_allclose(q.T @ q, np.eye(16), atol=1e-5)


def test_equals_qr_with_a_positive_diagonal(key):
    x = jax.random.normal(key, (12, 7))
    q, r = np.linalg.qr(np.asarray(x, np.float64))
    q = orthonormal_columns(x) - q * np.sign(np.diag(r))
    np.testing.assert_allclose(q, 0, atol=1e-5)


def test_haar_distributed():
    # Any entry of a Haar matrix of size n is that of a uniform unit vector:
    # (q + 1) / 2 ~ Beta((n − 1) / 2, (n − 1) / 2), and det is ±1 alike.
    n = 4
    noise = jax.random.normal(jax.random.key(0), (4000, n, n))
    q = np.asarray(jax.jit(jax.vmap(orthogonal))(noise))
    beta = scipy.stats.beta((n - 1) / 2, (n - 1) / 2)
    for i, j in ((0, 0), (0, 3), (3, 0), (3, 3)):
        assert scipy.stats.kstest((q[:, i, j] + 1) / 2, beta.cdf).pvalue > 1e-3
    positive = (np.linalg.det(q) > 0).sum()
    assert scipy.stats.binomtest(int(positive), len(q)).pvalue > 1e-3


def test_normals_are_one_draw_in_the_shapes_of_a_tree(key):
    like = {"a": jnp.zeros((3, 2)), "b": (jnp.zeros(4), jnp.zeros((1, 5)))}
    tree = normals(key, like)
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, like)
    flat = jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
    np.testing.assert_array_equal(flat, jax.random.normal(key, (15,)))


def test_no_lapack_call_is_traced():
    program = str(jax.make_jaxpr(orthogonal)(jnp.zeros((64, 64))))
    assert not any(name in program for name in ("householder", "geqrf", "svd", "eigh"))


BATCHES = """
import jax, purejaxppo as ppo
from envs.probes import ConstantValue
config = ppo.Config(
    total_timesteps=16, num_envs=2, num_steps=8, num_epochs=1, num_minibatches=2
)
train = jax.jit(jax.vmap(ppo.make_train(config, ConstantValue())))
for seeds in (8, 256):
    result = train(jax.random.split(jax.random.key(0), seeds))
    assert bool(result.metrics.finite.all())
    print(seeds, flush=True)
"""


def test_batched_training_never_hangs(pytestconfig):
    # A batched LAPACK call deadlocks within seconds, at any of these sizes.
    done = subprocess.run(
        [sys.executable, "-c", BATCHES],
        cwd=pytestconfig.rootpath,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["8", "256"], done.stderr


def test_vmap(key):
    keys = jax.random.split(key, 3)
    noise = jax.vmap(lambda key: jax.random.normal(key, (6, 4)))(keys)
    batch = jax.vmap(orthogonal)(noise)
    alone = jnp.stack([orthogonal(x) for x in noise])
    np.testing.assert_allclose(batch, alone, atol=1e-6)


@pytest.mark.parametrize("fan_in, fan_out", [(2, 300), (64, 64), (300, 5)])
def test_variance_is_that_of_the_scheme(fan_in, fan_out, key):
    noise = jax.random.normal(key, (50, fan_in, fan_out))
    schemes = {
        xavier: ((fan_in, fan_out), 2 / (fan_in + fan_out)),
        kaiming: ((fan_in, 1.5), 2.25 / fan_in),
        lecun: ((fan_in,), 1 / fan_in),
        normal: ((0.3,), 0.09),
    }
    for scheme, (arguments, variance) in schemes.items():
        kernel = jax.vmap(lambda noise, f=scheme, a=arguments: f(noise, *a))(noise)
        expected = np.sqrt(variance) * np.asarray(noise)
        np.testing.assert_allclose(kernel, expected, rtol=1e-5)
        np.testing.assert_allclose(kernel.var(), variance, rtol=0.03)


def test_gain_and_std_may_be_traced(key):
    noise = jax.random.normal(key, (4, 6))
    both = jax.jit(jax.vmap(lambda x: (kaiming(noise, 4, x), normal(noise, x))))
    for kernel, std in zip(both(jnp.array([2.0, 4.0])), (0.5, 1.0), strict=True):
        np.testing.assert_allclose(kernel[1], 2 * kernel[0], rtol=1e-6)
        np.testing.assert_allclose(kernel[0] / noise, 2 * std, rtol=1e-5)


def test_gains_keep_the_second_moment():
    # He et al.'s condition is g² E[f(z)²] = 1, by quadrature on a grid.
    z = np.linspace(-10, 10, 20_001)
    weight = scipy.stats.norm.pdf(z) * 0.001
    for activation in set(GAINS) - {"linear", "tanh"}:
        out = np.asarray(getattr(nn, activation)(z), np.float64)
        moment = (np.square(out) * weight).sum()
        np.testing.assert_allclose(activation_gain(activation), moment**-0.5, rtol=1e-4)


def test_gains_have_the_customary_values():
    gains = {"linear": 1, "tanh": 5 / 3, "relu": 2**0.5, "leaky_relu": 1.4141428569978}
    assert {name: activation_gain(name) for name in gains} == pytest.approx(gains)
    assert set(ACTIVATIONS) | {"linear"} == set(GAINS)


def test_other_activations_have_no_gain():
    with pytest.raises(ValueError, match=r"^Expected activation to be one .*, got cos"):
        activation_gain("cos")
