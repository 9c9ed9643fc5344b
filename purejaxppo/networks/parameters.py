"""Weights of the default actor-critic: how they are drawn, and what is set in them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from purejaxppo.config.choices import SCHEMES
from purejaxppo.networks.initializers import (
    activation_gain,
    kaiming,
    lecun,
    normal,
    normals,
    orthogonal,
    xavier,
)

Params = Any


def draw_kernels(
    key: jax.Array,
    params: Params,
    *,
    init: str = "orthogonal",
    init_std: float = 0.01,
    activation: str = "tanh",
    hidden_gain: float | None = math.sqrt(2),
    policy_gain: float = 0.01,
    value_gain: float = 1.0,
) -> Params:
    """`params` with kernels drawn by the scheme `init`, of `choices.SCHEMES`.

    Under every scheme the last layer of the policy is `policy_gain` times, that of the
    critic `value_gain` times, what a linear layer gets: a semi-orthogonal matrix, or
    normals of variance 2 / (fan_in + fan_out) (xavier), 1 / fan_in (kaiming, lecun) or
    `init_std`² (normal); so do recurrent cells, at gain 1. Hidden layers have the
    factor `hidden_gain` if orthogonal (`activation_gain` if None), `activation_gain` if
    kaiming; the others' have none, as their sources say. Convolutions are hidden layers
    with the activation relu. Gains and `init_std` may be traced.

    Raises:
      ValueError: no such scheme or activation.

    Source: Huang et al., "The 37 implementation details of proximal policy
    optimization", 2022, detail 2.
    """
    flat: Any = flatten_dict(params)
    kernels = {path: x for path, x in flat.items() if path[-1] == "kernel"}
    relu_gain = hidden_gain
    if init == "kaiming" or (init == "orthogonal" and hidden_gain is None):
        hidden_gain, relu_gain = map(activation_gain, (activation, "relu"))
    elif init != "orthogonal":
        hidden_gain = relu_gain = 1.0
    gains = {"policy": policy_gain, "value": value_gain}
    gains |= dict.fromkeys(("core", "actor_core", "critic_core"), 1.0)

    def gain(path: tuple[str, ...]) -> Any:
        if path[1].startswith("image_"):
            return relu_gain
        inner = path[1].startswith(INNER)
        return hidden_gain if inner else gains.get(path[0], hidden_gain)

    drawn = {
        path: draw_kernel(
            noise, flat.get((*path[:-1], "bias")), init, gain(path), init_std
        )
        for path, noise in normals(key, kernels).items()
    }
    return unflatten_dict(flat | drawn)


def draw_kernel(
    noise: jax.Array, bias: jax.Array | None, init: str, gain: Any, std: Any
) -> jax.Array:
    """One layer's kernel from standard normals of its shape; see `draw_kernels`.

    The bias `[outputs]` tells outputs from inputs, whichever way round the kernel is;
    without one, the last axis are the outputs. All axes but the last two are a window.

    Raises:
      ValueError: no such scheme.
    """
    outputs = noise.shape[-1] if bias is None else bias.size
    fan_in = noise.size // outputs
    fan_out = outputs * math.prod(noise.shape[:-2])
    if init == "orthogonal":
        return gain * orthogonal(noise)
    if init == "xavier":
        return gain * xavier(noise, fan_in, fan_out)
    if init == "kaiming":
        return kaiming(noise, fan_in, gain)
    if init == "lecun":
        return gain * lecun(noise, fan_in)
    if init == "normal":
        return gain * normal(noise, std)
    raise ValueError(f"Expected init to be one of {', '.join(SCHEMES)}, got {init}.")


INNER = ("hidden_", "choice_")
"""How the layers of an autoregressive policy begin that are not its last."""

GROUPS = {"torso": "shared", "core": "shared"}
GROUPS |= {"actor_torso": "actor", "actor_core": "actor", "policy": "actor"}
GROUPS |= {"critic_torso": "critic", "critic_core": "critic", "value": "critic"}


def parameter_groups(params: Params) -> Any:
    """Whose each parameter of `make_actor_critic` is: "shared", "actor", "critic"."""
    return {
        name: jax.tree.map(lambda _, group=GROUPS[name]: group, part)
        for name, part in params.items()
    }


def rescale_value(
    params: Params, scale: float | jax.Array, shift: float | jax.Array
) -> Params:
    """`params` whose critic gives scale V + shift: w' = scale w, b' = scale b + shift.

    PopArt's step: at scale = σ / σ' and shift = (μ − μ') / σ', what the critic predicts
    in rewards, σ V + μ, stays the same under new statistics μ', σ'. Source: van Hasselt
    et al., "Learning values across many orders of magnitude", 2016, proposition 1.
    """
    value = params["value"]
    kernel, bias = scale * value["kernel"], scale * value["bias"] + shift
    return {**params, "value": {"kernel": kernel, "bias": bias}}


def overwrite_forget_bias(params: Params, bias: float | jax.Array) -> Params:
    """`params` whose LSTMs keep σ(`bias`) of their memory, if nothing else speaks.

    Source: Jozefowicz et al., "An empirical exploration of recurrent network
    architectures", 2015, section 2.2.
    """
    flat: Any = flatten_dict(params)
    gates = [path for path in flat if path[-3:] == ("cell", "hf", "bias")]
    return unflatten_dict(
        flat | {path: jnp.full_like(flat[path], bias) for path in gates}
    )


def overwrite_log_std(params: Params, log_std: float | jax.Array) -> Params:
    """`params` with a scalar `log_std` in every dimension of a scheduled policy."""
    policy = params["policy"]
    every = jnp.full_like(policy["log_std"], log_std)
    return {**params, "policy": {**policy, "log_std": every}}
