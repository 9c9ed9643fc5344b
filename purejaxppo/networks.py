"""Actor-critic networks behind a seam that any library's modules fit."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from purejaxppo.cores import Core, init_core, memory_size, unroll
from purejaxppo.distributions import ActionHead
from purejaxppo.encoders import Encoded, make_encoder
from purejaxppo.fields import kind_name
from purejaxppo.initializers import (
    SCHEMES,
    activation_gain,
    kaiming,
    lecun,
    normal,
    normals,
    orthogonal,
    xavier,
)
from purejaxppo.layers import Dense
from purejaxppo.policies import Policy
from purejaxppo.spaces import split_mask, split_mask_value
from purejaxppo.techniques import GRU, LSTM, Impala, MinAtar, Nature
from purejaxppo.torsos import make_torso

Params = Any
Memory = Any

ACTIVATIONS = ("tanh", "relu", "elu", "gelu", "leaky_relu", "silu")


class Network(Protocol):
    """The seam: `init`, `actor` and `critic` as pure functions of the parameters.

    `obs` has one leading batch axis; values are `[batch]`. `memory` is `()` for a
    feed-forward network; one with a memory has `init_memory` as well, see
    `ActorCritic`. An action distribution has `sample(seed=)`, `log_prob`,
    `entropy` and `mode`, as distrax's have.
    """

    @property
    def init(self) -> Callable[[jax.Array, Any], Params]:
        """(key, obs) -> parameters for observations like `obs`."""
        ...

    @property
    def actor(self) -> Callable[[Params, Any, Memory], tuple[Any, Memory]]:
        """(params, obs, memory) -> (action distribution, memory after `obs`)."""
        ...

    @property
    def critic(self) -> Callable[[Params, Any, Memory], tuple[Any, Memory]]:
        """(params, obs, memory) -> (state values, memory after `obs`)."""
        ...


@dataclasses.dataclass(frozen=True)
class ActorCritic:
    """A network made of three functions, see `Network`, and what some techniques ask.

    Attributes:
      init: as in `Network`.
      actor: as in `Network`.
      critic: as in `Network`.
      groups: params -> a tree like them of "shared", "actor" and "critic".
      rescale: (params, scale, shift) -> params whose critic gives scale V + shift.
      set_log_std: (params, log standard deviation) -> params with it, for a scheduled
        standard deviation.
      bounds: middle and half width of the box that a Gaussian's mean should lie in.
      init_memory: number of environments -> (the actor's memory, the critic's) at the
        start of their episodes, `[batch, ...]`; `None` if the network has no memory.
      unroll_actor: as `sequences.unroll_actor`, where that can be had faster than step
        by step.
      unroll_critic: likewise.
    """

    init: Callable[[jax.Array, Any], Params]
    actor: Callable[[Params, Any, Memory], tuple[Any, Memory]]
    critic: Callable[[Params, Any, Memory], tuple[Any, Memory]]
    groups: Callable[[Params], Any] | None = None
    rescale: Callable[[Params, Any, Any], Params] | None = None
    set_log_std: Callable[[Params, Any], Params] | None = None
    bounds: tuple[Any, Any] | None = None
    init_memory: Callable[[int], tuple[Memory, Memory]] | None = None
    unroll_actor: Callable[..., tuple[Any, Memory]] | None = None
    unroll_critic: Callable[..., tuple[jax.Array, Memory]] | None = None


class Model(nn.Module):
    """Actor and critic: a torso, a core where they have a memory, and a last layer.

    Torsos and cores are each one's own, or shared.
    """

    head: ActionHead
    conv: MinAtar | Nature | Impala | None
    memory: LSTM | GRU | None
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    shared: bool
    log_std_init: float

    def setup(self) -> None:
        """Name the parts; the names are those of the parameters."""
        torso = make_torso(self.conv, self.widths, self.activation, self.layer_norm)
        if self.shared:
            self.torso = torso
        else:
            self.actor_torso, self.critic_torso = torso.copy(), torso.copy()
        if self.memory is not None:
            kind, rule = kind_name(type(self.memory)), self.memory
            core = Core(kind, rule.size, rule.layer_norm)
            if self.shared:
                self.core = core
            else:
                self.actor_core, self.critic_core = core.copy(), core.copy()
        self.policy = Policy(self.head, self.log_std_init)
        self.value = Dense(1)

    def _part(self, kind: str, whose: str) -> Callable[..., Any]:
        return getattr(self, kind if self.shared else f"{whose}_{kind}")

    def look(self, whose: str, x: Encoded) -> jax.Array:
        """What the actor's or the critic's torso makes of observations."""
        return self._part("torso", whose)(x)

    def recall(self, whose: str, x: jax.Array, memory: Memory) -> tuple[Any, Memory]:
        """What a core makes of a torso's output, and its memory after that."""
        if self.memory is None:
            return x, memory
        if not jax.tree.leaves(memory):
            raise ValueError(
                "Expected the memory of network.memory, got (); in a loss, use "
                "policy_of and value_of."
            )
        memory, x = self._part("core", whose)(memory, x)
        return x, memory

    def decide(self, x: jax.Array, mask: Any) -> Any:
        """Action distribution."""
        return self.policy(x, mask)

    def judge(self, x: jax.Array) -> jax.Array:
        """State value `[batch]`."""
        return self.value(x).squeeze(-1)

    def actor(self, x: Encoded, mask: Any, memory: Memory) -> tuple[Any, Memory]:
        """Action distribution, and the actor's memory after `x`."""
        y, memory = self.recall("actor", self.look("actor", x), memory)
        return self.decide(y, mask), memory

    def critic(self, x: Encoded, memory: Memory) -> tuple[jax.Array, Memory]:
        """State value `[batch]`, and the critic's memory after `x`."""
        y, memory = self.recall("critic", self.look("critic", x), memory)
        return self.judge(y), memory

    def __call__(self, x: Encoded, mask: Any, memory: Memory) -> None:
        """Both, so that `init` makes all parameters."""
        self.actor(x, mask, memory)
        self.critic(x, memory)


def make_actor_critic(
    observation_space: gymnasium.spaces.Space,
    head: ActionHead,
    *,
    conv: MinAtar | Nature | Impala | None = None,
    memory: LSTM | GRU | None = None,
    widths: Sequence[int] = (64, 64),
    activation: str = "tanh",
    layer_norm: bool = False,
    shared: bool = False,
    log_std_init: float = 0.0,
    init: str = "orthogonal",
    init_std: float = 0.01,
    hidden_gain: float | None = math.sqrt(2),
    policy_gain: float = 0.01,
    value_gain: float = 1.0,
) -> ActorCritic:
    """The default actor-critic: orthogonal weights (√2, .01, 1), zero biases.

    `init` to `value_gain` are those of `draw_kernels`. Where the observation is a Dict
    with the key "action_mask", that goes to the head alone.

    Raises:
      ValueError: a part of the observation space is not supported, or it has no image
        for the convolutions.
    """
    space, _ = split_mask(observation_space)
    encode = make_encoder(space, images=conv is not None)
    model = Model(
        head,
        conv,
        memory,
        tuple(widths),
        activation,
        layer_norm,
        shared,
        log_std_init,
    )

    def see(obs: Any) -> tuple[Encoded, Any]:
        rest, mask = split_mask_value(obs)
        return encode(rest), mask

    def init_params(key: jax.Array, obs: Any) -> Params:
        # The modules themselves draw nothing, whatever their key.
        x, mask = see(obs)
        start = first_memory(memory, x.flat.shape[0])
        return draw_kernels(
            key,
            model.init(jax.random.key(0), x, mask, start)["params"],
            init=init,
            init_std=init_std,
            activation=activation,
            hidden_gain=hidden_gain,
            policy_gain=policy_gain,
            value_gain=value_gain,
        )

    def actor(params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return model.apply({"params": params}, *see(obs), memory, method="actor")

    def critic(params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return model.apply({"params": params}, see(obs)[0], memory, method="critic")

    seam = ActorCritic(
        init_params,
        actor,
        critic,
        groups=parameter_groups,
        rescale=rescale_value,
        set_log_std=overwrite_log_std if head.scheduled else None,
        bounds=head.bounds,
    )
    return seam if memory is None else _remembering(seam, model, see)


def first_memory(memory: LSTM | GRU | None, batch_size: int) -> Memory:
    """An actor's or a critic's memory at the start of episodes; `()` without one."""
    if memory is None:
        return ()
    return init_core(kind_name(type(memory)), memory.size, batch_size)


def _remembering(
    seam: ActorCritic, model: Model, see: Callable[[Any], tuple[Encoded, Any]]
) -> ActorCritic:
    """The seam of a model with a memory: it can replay whole sequences.

    Only the cores go step by step; torsos and last layers see all steps at once.
    """

    def apply(params: Params, method: str, *inputs: Any) -> Any:
        return model.apply({"params": params}, *inputs, method=method)

    def recall(
        params: Params, whose: str, x: Encoded, reset: jax.Array, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        initial = first_memory(model.memory, memory_size(memory))
        step = partial(apply, params, "recall", whose)
        return unroll(step, apply(params, "look", whose, x), reset, memory, initial)

    def unroll_actor(
        params: Params, obs: Any, reset: jax.Array, memory: Memory
    ) -> tuple[Any, Memory]:
        x, mask = see(obs)
        y, memories = recall(params, "actor", x, reset, memory)
        return apply(params, "decide", y, mask), memories

    def unroll_critic(
        params: Params, obs: Any, reset: jax.Array, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        y, memories = recall(params, "critic", see(obs)[0], reset, memory)
        return apply(params, "judge", y), memories

    def init_memory(batch_size: int) -> tuple[Memory, Memory]:
        start = first_memory(model.memory, batch_size)
        return start, start

    return dataclasses.replace(
        seam,
        init_memory=init_memory,
        unroll_actor=unroll_actor,
        unroll_critic=unroll_critic,
    )


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
    """`params` with kernels drawn by the scheme `init`, of `initializers.SCHEMES`.

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


def overwrite_log_std(params: Params, log_std: float | jax.Array) -> Params:
    """`params` with a scalar `log_std` in every dimension of a scheduled policy."""
    policy = params["policy"]
    every = jnp.full_like(policy["log_std"], log_std)
    return {**params, "policy": {**policy, "log_std": every}}
