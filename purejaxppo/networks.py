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
from purejaxppo.initializers import normals, orthogonal

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
    """A network made of three functions; see `Network`."""

    init: Callable[[jax.Array, Any], Params]
    actor: Callable[[Params, Any, Memory], tuple[Any, Memory]]
    critic: Callable[[Params, Any, Memory], tuple[Any, Memory]]


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
) -> ActorCritic:
    """The default actor-critic: orthogonal weights (√2, .01, 1), zero biases.

    Raises:
      ValueError: the observation space is neither Box nor Discrete.
    """
    encode = make_encoder(observation_space)
    model = MLP(head, tuple(widths), activation, layer_norm, shared, log_std_init)

    def init(key: jax.Array, obs: Any) -> Params:
        # The modules themselves draw nothing, whatever their key.
        zeros = model.init(jax.random.key(0), encode(obs))["params"]
        return draw_kernels(key, zeros)

    def actor(params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return model.apply({"params": params}, encode(obs), method="actor"), memory

    def critic(params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return model.apply({"params": params}, encode(obs), method="critic"), memory

    return ActorCritic(init, actor, critic)


def draw_kernels(key: jax.Array, params: Params) -> Params:
    """`params` with orthogonal kernels, of gain .01 (policy), 1 (value), √2 (others).

    Source: Huang et al., "The 37 implementation details of proximal policy
    optimization", 2022, detail 2.
    """
    flat = flatten_dict(params)
    kernels = {path: x for path, x in flat.items() if path[-1] == "kernel"}
    gains = {"policy": 0.01, "value": 1.0}
    drawn = {
        path: gains.get(path[0], math.sqrt(2)) * orthogonal(noise)
        for path, noise in normals(key, kernels).items()
    }
    return unflatten_dict(flat | drawn)


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
