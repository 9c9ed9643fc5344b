"""Actor-critic networks behind a seam that any library's modules fit."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import flax.linen as nn
import gymnasium
import jax

from purejaxppo.config.fields import kind_name
from purejaxppo.config.techniques import GRU, LSTM, Impala, MinAtar, Nature
from purejaxppo.environments.spaces import split_mask, split_mask_value
from purejaxppo.networks.distributions import ActionHead
from purejaxppo.networks.encoders import Encoded, make_encoder
from purejaxppo.networks.layers import Dense
from purejaxppo.networks.parameters import (
    Params,
    draw_kernels,
    overwrite_forget_bias,
    overwrite_log_std,
    parameter_groups,
    rescale_value,
)
from purejaxppo.networks.policy_head import Policy
from purejaxppo.networks.recurrent import Core, init_core, memory_size, unroll
from purejaxppo.networks.torsos import make_torso

Memory = Any


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
      unroll_actor: as `memory.unroll_actor`, where that can be had faster than step
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
    draw: Callable[[jax.Array, Params], Params] = draw_kernels,
) -> ActorCritic:
    """The default actor-critic: orthogonal weights (√2, .01, 1), zero biases.

    `draw` makes its first parameters from a key and zeros in their place. Where the
    observation is a Dict with the key "action_mask", that goes to the head alone.

    Raises:
      ValueError: a part of the observation space is not supported, or it has no image
        for the convolutions.
    """
    model = Model(
        head, conv, memory, tuple(widths), activation, layer_norm, shared, log_std_init
    )
    space, _ = split_mask(observation_space)
    made = _Functions(model, make_encoder(space, images=conv is not None), draw)
    return ActorCritic(
        made.init,
        made.actor,
        made.critic,
        groups=parameter_groups,
        rescale=rescale_value,
        set_log_std=overwrite_log_std if head.scheduled else None,
        bounds=head.bounds,
        init_memory=made.init_memory if memory else None,
        unroll_actor=made.unroll_actor if memory else None,
        unroll_critic=made.unroll_critic if memory else None,
    )


@dataclasses.dataclass(frozen=True)
class _Functions:
    """A model's functions of its parameters, see `ActorCritic`."""

    model: Model
    encode: Callable[[Any], Encoded]
    draw: Callable[[jax.Array, Params], Params]

    def see(self, obs: Any) -> tuple[Encoded, Any]:
        rest, mask = split_mask_value(obs)
        return self.encode(rest), mask

    def apply(self, params: Params, method: str, *inputs: Any) -> Any:
        return self.model.apply({"params": params}, *inputs, method=method)

    def init(self, key: jax.Array, obs: Any) -> Params:
        # The modules themselves draw nothing, whatever their key.
        x, mask = self.see(obs)
        start, memory = self.first_memory(x.flat.shape[0]), self.model.memory
        zeros = self.model.init(jax.random.key(0), x, mask, start)["params"]
        params = self.draw(key, zeros)
        if isinstance(memory, LSTM):
            params = overwrite_forget_bias(params, memory.forget_bias)
        return params

    def actor(self, params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return self.apply(params, "actor", *self.see(obs), memory)

    def critic(self, params: Params, obs: Any, memory: Memory) -> tuple[Any, Memory]:
        return self.apply(params, "critic", self.see(obs)[0], memory)

    def first_memory(self, batch_size: int) -> Memory:
        """An actor's or a critic's at the start of episodes; `()` without one."""
        memory = self.model.memory
        if memory is None:
            return ()
        return init_core(kind_name(type(memory)), memory.size, batch_size)

    def init_memory(self, batch_size: int) -> tuple[Memory, Memory]:
        start = self.first_memory(batch_size)
        return start, start

    # Only the cores go step by step; torsos and last layers see all steps at once.

    def recall(
        self, params: Params, whose: str, x: Encoded, reset: jax.Array, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        initial = self.first_memory(memory_size(memory))
        step = partial(self.apply, params, "recall", whose)
        return unroll(
            step, self.apply(params, "look", whose, x), reset, memory, initial
        )

    def unroll_actor(
        self, params: Params, obs: Any, reset: jax.Array, memory: Memory
    ) -> tuple[Any, Memory]:
        x, mask = self.see(obs)
        y, memories = self.recall(params, "actor", x, reset, memory)
        return self.apply(params, "decide", y, mask), memories

    def unroll_critic(
        self, params: Params, obs: Any, reset: jax.Array, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        y, memories = self.recall(params, "critic", self.see(obs)[0], reset, memory)
        return self.apply(params, "judge", y), memories
