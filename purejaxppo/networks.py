"""Actor-critic networks behind a seam that any library's modules fit."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from purejaxppo.distributions import ActionHead
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

Params = Any
Memory = Any

ACTIVATIONS = ("tanh", "relu", "elu", "gelu", "leaky_relu", "silu")


class Network(Protocol):
    """The seam: `init`, `actor` and `critic` as pure functions of the parameters.

    `obs` has one leading batch axis; values are `[batch]`. `memory` is `()` for a
    feed-forward network. An action distribution has `sample(seed=)`, `log_prob`,
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
    """

    init: Callable[[jax.Array, Any], Params]
    actor: Callable[[Params, Any, Memory], tuple[Any, Memory]]
    critic: Callable[[Params, Any, Memory], tuple[Any, Memory]]
    groups: Callable[[Params], Any] | None = None
    rescale: Callable[[Params, Any, Any], Params] | None = None
    set_log_std: Callable[[Params, Any], Params] | None = None
    bounds: tuple[Any, Any] | None = None


class Dense(nn.Module):
    """A dense layer, zero until `draw_kernels`, its kernel short side first.

    That is `[outputs, inputs]` where outputs are fewer, unlike `nn.Dense`: that way
    round XLA:CPU computes the kernel's gradient up to twice as fast.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, inputs]` -> `[batch, features]`."""
        shape = x.shape[-1], self.features
        kernel = self.param("kernel", nn.initializers.zeros, tuple(sorted(shape)))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        product = "bi,oi->bo" if shape[0] > shape[1] else "bi,io->bo"
        return jnp.einsum(product, x, kernel) + bias[None]


class Torso(nn.Module):
    """Dense layers with an activation each, layer norm before it if asked for."""

    widths: Sequence[int]
    activation: str
    layer_norm: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, features]` -> `[batch, widths[-1]]`."""
        activate = getattr(nn, self.activation)
        for i, width in enumerate(self.widths):
            x = Dense(width, name=f"dense_{i}")(x)
            if self.layer_norm:
                x = nn.LayerNorm(name=f"norm_{i}")(x)
            x = activate(x)
        return x


class Policy(nn.Module):
    """The policy's last layer, with its log standard deviation if it has one."""

    head: ActionHead
    log_std_init: float

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        """`[batch, features]` -> distribution over `[batch]` actions."""
        outputs = Dense(self.head.num_outputs, name="output")(x)
        log_std = None
        if self.head.has_scale:
            log_std = self.param(
                "log_std",
                nn.initializers.constant(self.log_std_init),
                (self.head.num_outputs,),
            )
        return self.head.distribution(outputs, log_std)


class MLP(nn.Module):
    """Actor and critic of dense layers, on trunks of their own or on a shared one."""

    head: ActionHead
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    shared: bool
    log_std_init: float

    def setup(self) -> None:
        """Name the parts; the names are those of the parameters."""
        torso = Torso(self.widths, self.activation, self.layer_norm)
        if self.shared:
            self.torso = torso
        else:
            self.actor_torso, self.critic_torso = torso.copy(), torso.copy()
        self.policy = Policy(self.head, self.log_std_init)
        self.value = Dense(1)

    def actor(self, x: jax.Array) -> Any:
        """Action distribution."""
        return self.policy((self.torso if self.shared else self.actor_torso)(x))

    def critic(self, x: jax.Array) -> jax.Array:
        """State value `[batch]`."""
        torso = self.torso if self.shared else self.critic_torso
        return self.value(torso(x)).squeeze(-1)

    def __call__(self, x: jax.Array) -> tuple[Any, jax.Array]:
        """Both, so that `init` makes all parameters."""
        return self.actor(x), self.critic(x)


def make_mlp(
    observation_space: gymnasium.spaces.Space,
    head: ActionHead,
    *,
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

    `init` to `value_gain` are those of `draw_kernels`.

    Raises:
      ValueError: the observation space is neither Box nor Discrete.
    """
    encode = make_encoder(observation_space)
    model = MLP(head, tuple(widths), activation, layer_norm, shared, log_std_init)

    def init_params(key: jax.Array, obs: Any) -> Params:
        # The modules themselves draw nothing, whatever their key.
        return draw_kernels(
            key,
            model.init(jax.random.key(0), encode(obs))["params"],
            init=init,
            init_std=init_std,
            activation=activation,
            hidden_gain=hidden_gain,
            policy_gain=policy_gain,
            value_gain=value_gain,
        )

    def actor(params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return model.apply({"params": params}, encode(obs), method="actor"), memory

    def critic(params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return model.apply({"params": params}, encode(obs), method="critic"), memory

    return ActorCritic(
        init_params,
        actor,
        critic,
        groups=parameter_groups,
        rescale=rescale_value,
        set_log_std=overwrite_log_std if head.scheduled else None,
        bounds=head.bounds,
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
    `init_std`² (normal). Hidden layers have the factor `hidden_gain` if orthogonal
    (`activation_gain` if None), `activation_gain` if kaiming; the others' have none, as
    their sources say. Gains and `init_std` may be traced.

    Raises:
      ValueError: no such scheme or activation.

    Source: Huang et al., "The 37 implementation details of proximal policy
    optimization", 2022, detail 2.
    """
    flat: Any = flatten_dict(params)
    kernels = {path: x for path, x in flat.items() if path[-1] == "kernel"}
    if init == "kaiming" or (init == "orthogonal" and hidden_gain is None):
        hidden_gain = activation_gain(activation)
    elif init != "orthogonal":
        hidden_gain = 1.0
    gains = {"policy": policy_gain, "value": value_gain}
    drawn = {
        path: draw_kernel(
            noise,
            flat.get((*path[:-1], "bias")),
            init,
            gains.get(path[0], hidden_gain),
            init_std,
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


GROUPS = {"torso": "shared", "critic_torso": "critic", "value": "critic"}
GROUPS |= {"actor_torso": "actor", "policy": "actor"}


def parameter_groups(params: Params) -> Any:
    """Whose each parameter of `make_mlp` is: a tree of "shared", "actor", "critic"."""
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


def make_encoder(space: gymnasium.spaces.Space) -> Callable[[Any], jax.Array]:
    """`[batch, *space.shape]` -> `[batch, features]`: flat floats; Discrete one-hot.

    Raises:
      ValueError: the space is neither Box nor Discrete.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        n, start = int(space.n), int(space.start)
        return lambda obs: jax.nn.one_hot(obs - start, n)
    if not isinstance(space, gymnasium.spaces.Box):
        raise ValueError(
            f"Expected observation_space to be Box or Discrete, got {space}."
        )
    shape = space.shape

    def flatten(obs: jax.Array) -> jax.Array:
        if obs.shape[1:] != shape:
            raise ValueError(
                f"Expected observations of shape {shape}, as the observation space "
                f"says, got {obs.shape[1:]}."
            )
        return obs.reshape(obs.shape[0], math.prod(shape)).astype(jnp.float32)

    return flatten
