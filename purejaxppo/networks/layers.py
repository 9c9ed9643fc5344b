"""Layers of networks; their weights are zero until `parameters.draw_kernels`."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp


def zeros(module: nn.Module, name: str, shape: tuple[int, ...]) -> jax.Array:
    """Make a parameter of a module, float32 in every process."""
    return module.param(name, nn.initializers.zeros, shape, jnp.float32)


class Dense(nn.Module):
    """A dense layer, its kernel short side first.

    That is `[outputs, inputs]` where outputs are fewer, unlike `nn.Dense`: that way
    round XLA:CPU computes the kernel's gradient up to twice as fast.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, inputs]` -> `[batch, features]`."""
        shape = x.shape[-1], self.features
        kernel = zeros(self, "kernel", tuple(sorted(shape)))
        bias = zeros(self, "bias", (self.features,))
        product = "bi,oi->bo" if shape[0] > shape[1] else "bi,io->bo"
        return jnp.einsum(product, x, kernel) + bias[None]


class Conv(nn.Module):
    """A convolution of square windows, its kernel `[window, window, in, filters]`.

    `padding` rows and columns of zeros are put around the image first.
    """

    filters: int
    window: int
    stride: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, height, width, channels]` -> `[batch, rows, columns, filters]`."""
        shape = self.window, self.window, x.shape[-1], self.filters
        kernel = zeros(self, "kernel", shape)
        bias = zeros(self, "bias", (self.filters,))
        if self.padding:
            around = (self.padding, self.padding)
            x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
        return convolve(x, kernel, self.stride) + bias[None, None, None]


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution without padding, as one matrix product with all windows as rows.

    y[b, i, j, o] = Σ x[b, s i + h, s j + w, c] kernel[h, w, c, o] over h, w, c, where
    `x` is `[batch, height, width, channels]`, `kernel` `[window, window, channels,
    filters]` and s the stride.

    Many seeds' (`jax.vmap`) would be one grouped convolution to XLA, and XLA:CPU has
    no fast path for convolutions inside a loop. In a scan, forward and backward over
    8 seeds, `lax.conv` takes 46 times as long on 512 images of MinAtar, 27 times with
    the layers of Nature on 32 images; for one seed 27 and 12 times.
    """
    window, filters = kernel.shape[0], kernel.shape[-1]
    rows, columns = ((n - window) // stride + 1 for n in x.shape[1:3])
    # Few filters make a thin product; two pixels at once are twice as fast.
    together = 2 if stride == 1 and window > 2 and filters <= 32 else 1
    if together == 2:
        kernel = for_pairs(kernel)
    outputs = rows, -(-columns // together)
    x, kernel = by_blocks(x, kernel, outputs, (stride, stride * together))
    windows = jnp.concatenate(
        [
            x[:, h : h + outputs[0], w : w + outputs[1]]
            for h in range(kernel.shape[0])
            for w in range(kernel.shape[1])
        ],
        axis=-1,
    )
    depth = windows.shape[-1]
    y = windows.reshape(x.shape[0] * math.prod(outputs), depth) @ kernel.reshape(
        depth, together * filters
    )
    return y.reshape(x.shape[0], rows, outputs[1] * together, filters)[:, :, :columns]


def for_pairs(kernel: jax.Array) -> jax.Array:
    """A kernel for two neighbouring pixels at once: `[h, w + 1, channels, 2 filters]`.

    The second pixel's filters are the first's, one column on.
    """
    shifted = [jnp.pad(kernel, ((0, 0), (i, 1 - i), (0, 0), (0, 0))) for i in range(2)]
    return jnp.concatenate(shifted, axis=-1)


def by_blocks(
    x: jax.Array, kernel: jax.Array, outputs: tuple[int, int], strides: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """The same convolution at stride 1: blocks of pixels, a stride long, become pixels.

    A block's pixels become its channels. The kernel is filled up with zeros to whole
    blocks, the image cut, or filled up, to what the windows of `outputs` reach.
    """
    (batch, *_, channels), (down, right) = x.shape, strides
    high, wide = (-(-n // s) for n, s in zip(kernel.shape[:2], strides, strict=True))
    kernel = fill(kernel, 0, (high * down, wide * right))
    rows, columns = outputs[0] + high - 1, outputs[1] + wide - 1
    x = fill(x, 1, (rows * down, columns * right))
    x = x.reshape(batch, rows, down, columns, right, channels)
    kernel = kernel.reshape(high, down, wide, right, channels, kernel.shape[-1])
    depth = down * right * channels
    return (
        x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, depth),
        kernel.transpose(0, 2, 1, 3, 4, 5).reshape(high, wide, depth, -1),
    )


def fill(x: jax.Array, axis: int, sizes: tuple[int, int]) -> jax.Array:
    """`axis` and the next cut to `sizes`, or filled up with zeros behind."""
    for i, size in enumerate(sizes, axis):
        missing = size - x.shape[i]
        if missing > 0:
            x = jnp.pad(x, [(0, missing * (j == i)) for j in range(x.ndim)])
        elif missing < 0:
            x = jax.lax.slice_in_dim(x, 0, size, axis=i)
    return x


def max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    """The largest of each window, `[batch, ⌈height / s⌉, ⌈width / s⌉, channels]`.

    Windows of `window` × `window` pixels, `stride` apart, reach over the border as
    evenly as they can ("SAME"). The gradient of equally large ones is shared. That of
    `lax.reduce_window` is 5 to 9 times as slow on XLA:CPU, over 8 seeds.
    """
    for axis in (1, 2):
        x = max_along(x, axis, window, stride)
    return x


def max_along(x: jax.Array, axis: int, window: int, stride: int) -> jax.Array:
    """`max_pool` along one axis."""
    size = x.shape[axis]
    reach = (-(-size // stride) - 1) * stride
    over = max(0, reach + window - size)
    around = [(0, 0)] * x.ndim
    around[axis] = (over // 2, over - over // 2)
    x = jnp.pad(x, around, constant_values=-jnp.inf)
    shifted = [
        jax.lax.slice_in_dim(x, i, i + reach + 1, stride, axis) for i in range(window)
    ]
    return functools.reduce(jnp.maximum, shifted)
