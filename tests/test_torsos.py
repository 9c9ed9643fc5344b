"""Convolutions, pools and the torsos made of them."""

import re
import subprocess
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxppo.config.techniques import Impala, MinAtar, Nature
from purejaxppo.networks.encoders import Encoded
from purejaxppo.networks.initializers import orthogonal
from purejaxppo.networks.layers import Conv, convolve, max_pool
from purejaxppo.networks.parameters import draw_kernels
from purejaxppo.networks.torsos import (
    CONVOLUTIONS,
    Convolution,
    Stage,
    Torso,
    least_size,
    make_torso,
)

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

    weights = random(*jax.eval_shape(lambda: lax_conv(x, kernel, stride)).shape)

    def both(convolve):
        y, pull = jax.vjp(lambda x, k: convolve(x, k, stride), x, kernel)
        return y, pull(weights)

    got, expected = jax.jit(lambda: (both(convolve), both(lax_conv)))()
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


@pytest.mark.parametrize("size", [(10, 9), (1, 6)])
def test_pools_are_those_of_flax(size):
    def both(pool, x, weights):
        y, pull = jax.vjp(pool, x)
        return y, pull(weights[:, : y.shape[1], : y.shape[2]])

    def flax_pool(x, window, stride):
        return nn.max_pool(x, (window, window), (stride, stride), "SAME")

    def pools(x, weights):
        sizes = (3, 2), (2, 2), (3, 1), (1, 3), (5, 3)
        return [
            [
                both(lambda x, p=p, s=s: p(x, *s), x, weights)
                for p in (max_pool, flax_pool)
            ]
            for s in sizes
        ]

    for got, expected in jax.jit(pools)(random(2, *size, 3), random(2, *size, 3)):
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_allclose(got[1][0], expected[1][0], rtol=1e-4, atol=1e-6)


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
    return nn.relu(x @ kernel + layer["bias"][None])


def conv(layer, x, stride, padding=0):
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    y = lax_conv(jnp.pad(x, around), layer["kernel"], stride)
    return y + layer["bias"][None, None, None]


def check_torso(torso, params, obs, oracle):
    """A torso of ReLUs and the dense layers 8 and 5 gives what the images' oracle says.

    The oracle: (params, images) -> what their convolutions give, one by one.
    """

    def expected(params):
        images = [x.reshape(x.shape[0], -1) for x in oracle(params, obs.images)]
        x = jnp.concatenate([*images, obs.flat], axis=1)
        return dense(params["dense_1"], dense(params["dense_0"], x))

    got, rest = jax.jit(lambda p: (torso.apply({"params": p}, obs), expected(p)))(
        params
    )
    scale = np.abs(rest).max()
    assert got.shape == (2, 5) and scale > 0
    np.testing.assert_allclose(got / scale, rest / scale, atol=1e-5)


def test_min_atar_is_a_convolution_and_dense_layers():
    torso, obs = make_torso(MinAtar(), (8, 5), "relu", False), see(10, 10, 4)
    params = torso_params(torso, obs)
    assert params["image_0"]["conv_0"]["kernel"].shape == (3, 3, 4, 16)
    assert sorted(params) == ["dense_0", "dense_1", "image_0"]
    assert params["dense_0"]["kernel"].shape == (8, 8 * 8 * 16 + 3)

    def oracle(params, images):
        return [nn.relu(conv(params["image_0"]["conv_0"], images[0], 1))]

    check_torso(torso, params, obs, oracle)


def test_nature_is_three_convolutions():
    torso, obs = make_torso(Nature(), (8, 5), "relu", False), see(44, 36, 2)
    params = torso_params(torso, obs)
    layers = params["image_0"]
    assert {name: x["kernel"].shape for name, x in layers.items()} == {
        "conv_0": (8, 8, 2, 32),
        "conv_1": (4, 4, 32, 64),
        "conv_2": (3, 3, 64, 64),
    }

    def oracle(params, images):
        (x,) = images
        for i, stride in enumerate((4, 2, 1)):
            x = nn.relu(conv(params["image_0"][f"conv_{i}"], x, stride))
        assert x.shape == (2, 2, 1, 64)
        return [x]

    check_torso(torso, params, obs, oracle)


def test_impala_is_a_residual_network():
    torso, obs = make_torso(Impala(), (8, 5), "relu", False), see(10, 7, 3)

    def oracle(params, images):
        (x,) = images
        for i, filters in enumerate((16, 32, 32)):
            stage = params["image_0"][f"stage_{i}"]
            x = conv(stage["conv"], x, 1, padding=1)
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
            for block in (stage["block_0"], stage["block_1"]):
                y = conv(block["conv_0"], nn.relu(x), 1, padding=1)
                x = x + conv(block["conv_1"], nn.relu(y), 1, padding=1)
            assert x.shape[-1] == filters
        assert x.shape == (2, 2, 1, 32)
        return [nn.relu(x)]

    check_torso(torso, torso_params(torso, obs), obs, oracle)


def test_each_image_has_convolutions_of_its_own():
    images = (random(2, 5, 5, 1), random(2, 4, 6, 2))
    torso = make_torso(MinAtar(), (8, 5), "relu", False)

    def oracle(params, images):
        layers = [params[f"image_{i}"]["conv_0"] for i in range(2)]
        pairs = zip(layers, images, strict=True)
        return [nn.relu(conv(layer, x, 1)) for layer, x in pairs]

    for features in (0, 3):
        obs = Encoded(flat=random(2, features), images=images)
        check_torso(torso, torso_params(torso, obs), obs, oracle)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_without_images_there_are_dense_layers_alone(layer_norm):
    torso: Any = make_torso(None, (8, 4), "tanh", layer_norm)
    obs = Encoded(flat=random(5, 3), images=())
    params = torso_params(torso, obs)
    x = np.asarray(obs.flat)
    for i in range(2):
        layer = jax.tree.map(np.asarray, params[f"dense_{i}"])
        kernel = layer["kernel"]
        x = x @ (kernel if kernel.shape[0] == x.shape[1] else kernel.T) + layer["bias"]
        if layer_norm:
            norm = jax.tree.map(np.asarray, params[f"norm_{i}"])
            x = x - x.mean(1, keepdims=True)
            x = x / np.sqrt(np.square(x).mean(1, keepdims=True) + 1e-6)
            x = x * norm["scale"] + norm["bias"]
        x = np.tanh(x)
    np.testing.assert_allclose(torso.apply({"params": params}, obs), x, atol=1e-5)


def test_many_seeds_learn_as_each_alone():
    torso: Any = Torso((Stage(4), Convolution(3, 2, 1)), (4,), "tanh", True)
    obs = [see(5, 4, 2) for _ in range(3)]
    params = [torso_params(torso, x) for x in obs]

    def learn(params, obs):
        return jax.grad(lambda p: torso.apply({"params": p}, obs).sum())(params)

    stack = jax.jit(jax.vmap(learn))(
        *(jax.tree.map(lambda *x: jnp.stack(x), *trees) for trees in (params, obs))
    )
    learn = jax.jit(learn)
    alone = [learn(*pair) for pair in zip(params, obs, strict=True)]
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
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        jax.eval_shape(torso.init, jax.random.key(0), see(size[0], size[1], 1))


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
from purejaxppo.networks.initializers import orthogonal
shapes = (8, 8, 4, 32), (3, 3, 64, 64)
def draw(key):
    keys = jax.random.split(key, len(shapes))
    return [orthogonal(jax.random.normal(k, s)) for k, s in zip(keys, shapes)]
for seeds in (8, 64):
    for kernel in jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), seeds)):
        q = np.asarray(kernel, np.float64).reshape(seeds, -1, kernel.shape[-1])
        gram = np.swapaxes(q, 1, 2) @ q
        assert np.abs(gram - np.eye(q.shape[2])).max() < 2e-6
print("done")
"""


def test_orthogonal_kernels_of_many_seeds_do_not_hang():
    done = subprocess.run(
        [sys.executable, "-c", ORTHOGONAL],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "done\n", done.stderr


def test_a_wide_kernel_has_orthonormal_rows(key):
    assert deviation(orthogonal(jax.random.normal(key, (2, 2, 2, 12)))) < 1e-5
