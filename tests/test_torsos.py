"""Convolutions, pools and the torsos made of them."""

import math
import re
import subprocess
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo.encoders import Encoded
from purejaxppo.initializers import orthogonal
from purejaxppo.layers import Conv, convolve, max_pool
from purejaxppo.networks import draw_kernels
from purejaxppo.techniques import Impala, MinAtar, Nature
from purejaxppo.torsos import CONVOLUTIONS, least_size, make_torso

RNG = np.random.default_rng(0)


def random(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def lax_conv(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


# Image, window, stride, filters: those of the torsos, smaller, and odd ones, with
# remainders, single pixels, and more or fewer filters than are taken two by two.
SHAPES = [
    ((10, 10, 4), 3, 1, 16),
    ((9, 10, 2), 3, 1, 33),
    ((24, 20, 2), 8, 4, 5),
    ((9, 11, 3), 4, 2, 6),
    ((13, 12, 2), 2, 3, 5),
    ((12, 13, 2), 5, 3, 4),
    ((6, 5, 1), 5, 1, 3),
    ((3, 4, 2), 3, 1, 2),
    ((4, 3, 1), 1, 3, 3),
    ((4, 3, 2), 2, 1, 3),
    ((3, 3, 2), 1, 1, 2),
]


@pytest.mark.parametrize("image, window, stride, filters", SHAPES)
def test_convolutions_are_those_of_lax(image, window, stride, filters):
    x, kernel = random(3, *image), random(window, window, image[-1], filters)

    def both(convolve, x, kernel, weights):
        y, pull = jax.vjp(lambda x, k: convolve(x, k, stride), x, kernel)
        return y, pull(weights)

    weights = random(*lax_conv(x, kernel, stride).shape)
    got = jax.jit(lambda *a: both(convolve, *a))(x, kernel, weights)
    expected = jax.jit(lambda *a: both(lax_conv, *a))(x, kernel, weights)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        got,
        expected,
    )


def test_a_convolution_by_hand():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    kernel = jnp.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    # Window of 0 1 / 3 4, and so on.
    expected = [[4310, 5421], [7643, 8754]]
    np.testing.assert_array_equal(convolve(x, kernel)[0, :, :, 0], expected)


def test_convolutions_of_many_seeds_are_those_of_each():
    x, kernels = random(3, 2, 7, 8, 2), random(3, 3, 3, 2, 4)
    many = jax.jit(jax.vmap(convolve))(x, kernels)
    for i in range(3):
        np.testing.assert_allclose(
            many[i], lax_conv(x[i], kernels[i], 1), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("padding", [0, 1])
def test_a_layer_pads_and_adds_its_bias(padding, key):
    layer: Any = Conv(filters=5, window=3, stride=2, padding=padding)
    x = random(2, 7, 6, 3)
    params = layer.init(key, x)
    assert jax.tree.map(jnp.shape, params["params"]) == {
        "kernel": (3, 3, 3, 5),
        "bias": (5,),
    }
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(params))
    params = {"params": {"kernel": random(3, 3, 3, 5), "bias": random(5)}}
    oracle: Any = nn.Conv(5, (3, 3), strides=2, padding=padding, precision="highest")
    np.testing.assert_allclose(
        layer.apply(params, x), oracle.apply(params, x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [(10, 9), (1, 2), (6, 3)])
@pytest.mark.parametrize("window, stride", [(3, 2), (2, 2), (3, 1), (1, 3), (5, 3)])
def test_pools_are_those_of_flax(size, window, stride):
    x = random(2, *size, 3)

    def flax_pool(x):
        return nn.max_pool(x, (window, window), (stride, stride), "SAME")

    def pool(x):
        return max_pool(x, window, stride)

    y, pull = jax.vjp(pool, x)
    expected, expected_pull = jax.vjp(flax_pool, x)
    np.testing.assert_array_equal(y, expected)
    weights = random(*y.shape)
    np.testing.assert_allclose(pull(weights)[0], expected_pull(weights)[0], rtol=1e-5)


def test_equally_large_pixels_share_their_gradient():
    grad = jax.grad(lambda x: max_pool(x, 2, 2).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(grad, np.full((1, 2, 2, 1), 0.25))


def torso_params(torso, obs):
    """Random parameters of the torso's shapes."""
    shapes = jax.eval_shape(torso.init, jax.random.key(0), obs)
    return jax.tree.map(lambda x: 0.3 * random(*x.shape), shapes)["params"]


def see(height: int, width: int, channels: int, features: int = 3, batch: int = 2):
    images = (random(batch, height, width, channels),)
    return Encoded(flat=random(batch, features), images=images)


def dense(layer, x):
    kernel = layer["kernel"]
    kernel = kernel.T if kernel.shape[0] != x.shape[1] else kernel
    return np.maximum(x @ kernel + layer["bias"], 0)


def conv(layer, x, stride, padding=0):
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    y = lax_conv(np.pad(x, around), layer["kernel"], stride)
    return np.asarray(y) + np.asarray(layer["bias"])


def relu(x):
    return np.maximum(x, 0)


def head(params, features, flat):
    x = np.concatenate([features.reshape(len(features), -1), flat], axis=1)
    for i in range(2):
        x = dense(params[f"dense_{i}"], x)
    return x


def close(got, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, atol=1e-5)


def test_min_atar_is_a_convolution_and_dense_layers():
    torso, obs = make_torso(MinAtar(), (8, 5), "relu", False), see(10, 10, 4)
    params = torso_params(torso, obs)
    assert params["image_0"]["conv_0"]["kernel"].shape == (3, 3, 4, 16)
    assert sorted(params) == ["dense_0", "dense_1", "image_0"]
    x = relu(conv(params["image_0"]["conv_0"], obs.images[0], 1))
    assert x.shape == (2, 8, 8, 16)
    close(torso.apply({"params": params}, obs), head(params, x, obs.flat))


def test_nature_is_three_convolutions():
    torso, obs = make_torso(Nature(), (8, 5), "relu", False), see(44, 36, 2)
    params = torso_params(torso, obs)
    layers = params["image_0"]
    assert {name: x["kernel"].shape for name, x in layers.items()} == {
        "conv_0": (8, 8, 2, 32),
        "conv_1": (4, 4, 32, 64),
        "conv_2": (3, 3, 64, 64),
    }
    x = obs.images[0]
    for i, stride in enumerate((4, 2, 1)):
        x = relu(conv(layers[f"conv_{i}"], x, stride))
    assert x.shape == (2, 2, 1, 64)
    close(torso.apply({"params": params}, obs), head(params, x, obs.flat))


def test_impala_is_a_residual_network():
    torso, obs = make_torso(Impala(), (8, 5), "relu", False), see(10, 7, 3)
    params = torso_params(torso, obs)
    x = obs.images[0]
    for i, filters in enumerate((16, 32, 32)):
        stage = params["image_0"][f"stage_{i}"]
        x = conv(stage["conv"], x, 1, padding=1)
        x = np.asarray(nn.max_pool(x, (3, 3), (2, 2), "SAME"))
        for block in (stage["block_0"], stage["block_1"]):
            y = conv(block["conv_0"], relu(x), 1, padding=1)
            x = x + conv(block["conv_1"], relu(y), 1, padding=1)
        assert x.shape[-1] == filters
    assert x.shape == (2, 2, 1, 32)
    close(torso.apply({"params": params}, obs), head(params, relu(x), obs.flat))


def test_each_image_has_convolutions_of_its_own():
    images = (random(2, 5, 5, 1), random(2, 4, 6, 2))
    obs = Encoded(flat=jnp.zeros((2, 0)), images=images)
    torso = make_torso(MinAtar(), (7,), "relu", False)
    params = torso_params(torso, obs)
    features = [
        relu(conv(params[f"image_{i}"]["conv_0"], x, 1)).reshape(2, -1)
        for i, x in enumerate(images)
    ]
    expected = dense(params["dense_0"], np.concatenate(features, axis=1))
    close(torso.apply({"params": params}, obs), expected)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_without_images_there_are_dense_layers_alone(layer_norm):
    torso: Any = make_torso(None, (8, 4), "tanh", layer_norm)
    obs = Encoded(flat=random(5, 3), images=())
    params = torso_params(torso, obs)
    x = obs.flat
    for i in range(2):
        kernel = params[f"dense_{i}"]["kernel"]
        x = x @ (kernel if kernel.shape[0] == x.shape[1] else kernel.T)
        x = x + params[f"dense_{i}"]["bias"][None]
        if layer_norm:
            norm = params[f"norm_{i}"]
            x = jax.nn.standardize(x, axis=-1, epsilon=1e-6)
            x = x * norm["scale"][None] + norm["bias"][None]
        x = jnp.tanh(x)
    np.testing.assert_allclose(torso.apply({"params": params}, obs), x, atol=1e-5)


def test_many_seeds_learn_as_each_alone(key):
    torso: Any = make_torso(Impala(), (4,), "tanh", True)
    obs = [see(5, 4, 2) for _ in range(3)]
    params = [torso_params(torso, x) for x in obs]

    def learn(params, obs):
        return jax.grad(lambda p: torso.apply({"params": p}, obs).sum())(params)

    stack = jax.jit(jax.vmap(learn))(
        *(jax.tree.map(lambda *x: jnp.stack(x), *trees) for trees in (params, obs))
    )
    alone = [jax.jit(learn)(*pair) for pair in zip(params, obs, strict=True)]
    jax.tree.map(
        lambda many, *each: np.testing.assert_allclose(
            many, np.stack(each), rtol=1e-3, atol=1e-4
        ),
        stack,
        *alone,
    )
    assert all((x != 0).any() for x in jax.tree.leaves(stack))


@pytest.mark.parametrize(
    "conv, least, size",
    [(MinAtar(), 3, (10, 2)), (Nature(), 36, (35, 84)), (Impala(), 1, None)],
)
def test_images_smaller_than_the_windows_are_refused(conv, least, size):
    assert least_size(CONVOLUTIONS[type(conv)]) == least
    torso = make_torso(conv, (4,), "relu", False)
    jax.eval_shape(torso.init, jax.random.key(0), see(least, least, 1))
    if size is None:
        return
    message = (
        f"Expected observation_space to have images of at least {least} x {least} for "
        f"network.conv, got {size[0]} x {size[1]}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        jax.eval_shape(torso.init, jax.random.key(0), see(size[0], size[1], 1))


def kernel_shapes(conv):
    size = {MinAtar: 10, Nature: 36, Impala: 8}[type(conv)]
    torso = make_torso(conv, (4,), "relu", False)
    shapes = jax.eval_shape(torso.init, jax.random.key(0), see(size, size, 4))
    kernels = {x.shape for x in jax.tree.leaves(shapes) if len(x.shape) == 4}
    return sorted(kernels)


def deviation(kernel):
    """max |QᵀQ − I| of a kernel's rows or columns, whichever are fewer."""
    q = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    return np.abs(gram - np.eye(len(gram))).max()


def test_kernels_are_drawn_orthogonal_with_the_hidden_gain(key):
    torso, obs = make_torso(Impala(), (4,), "relu", False), see(8, 8, 4)
    params = {"torso": torso_params(torso, obs)}
    drawn = draw_kernels(key, params, hidden_gain=3.0)["torso"]["image_0"]
    for path, x in jax.tree_util.tree_leaves_with_path(drawn):
        if path[-1].key == "kernel":
            assert deviation(x / 3) < 1e-5


ORTHOGONAL = """
import jax, numpy as np
from purejaxppo.initializers import orthogonal
shapes = {shapes}
for seeds in (2, 8, 64):
    def draw(key):
        keys = jax.random.split(key, len(shapes))
        pairs = zip(keys, shapes)
        return [orthogonal(jax.random.normal(k, shape)) for k, shape in pairs]
    kernels = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), seeds))
    for kernel in kernels:
        q = np.asarray(kernel, np.float64).reshape(seeds, -1, kernel.shape[-1])
        gram = np.swapaxes(q, 1, 2) @ q
        assert np.abs(gram - np.eye(q.shape[2])).max() < 2e-6
print("done")
"""


def test_orthogonal_kernels_of_many_seeds_do_not_hang():
    shapes = sorted({s for c in CONVOLUTIONS for s in kernel_shapes(c())})
    assert (8, 8, 4, 32) in shapes and (3, 3, 64, 64) in shapes
    assert all(math.prod(shape[:-1]) >= shape[-1] for shape in shapes)
    done = subprocess.run(
        [sys.executable, "-c", ORTHOGONAL.format(shapes=shapes)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "done\n", done.stderr


def test_a_wide_kernel_has_orthonormal_rows(key):
    assert deviation(orthogonal(jax.random.normal(key, (2, 2, 2, 12)))) < 1e-5
