"""Probes: the smallest environments on which one part of a learner shows.

Each has a known answer. A learner that misses it has its fault in the part that the
probe needs: the critic's loss, the discount, the bootstrap, the policy's gradient.

Source: Andy Jones, "Debugging reinforcement learning systems", 2021.
"""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step


class Clock(NamedTuple):
    """State of an environment that only counts its steps."""

    time: jax.Array


class Target(NamedTuple):
    """State of an environment that only remembers what to answer."""

    target: jax.Array


class NoParams(NamedTuple):
    """Parameters of an environment without any."""


class CountingParams(NamedTuple):
    """Length of an episode."""

    length: int = 5


class ConstantValue:
    """One step, observation 0, reward 1: V = 1. Needs only the value loss."""

    default_params = NoParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Start an episode."""
        del key, params
        return jnp.zeros(1), Clock(time=jnp.int32(0))

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """End it."""
        del key, action, params
        return Step(
            obs=jnp.zeros(1),
            state=Clock(time=state.time + 1),
            reward=jnp.float32(1),
            terminated=jnp.bool_(True),
            truncated=jnp.bool_(False),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """One number, always 0."""
        return gymnasium.spaces.Box(0.0, 0.0, (1,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """Two actions without effect."""
        return gymnasium.spaces.Discrete(2)


class Discounting:
    """Observation 0, then 1, and a reward of 1 at the end: V(0) = γ, V(1) = 1."""

    default_params = NoParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Start an episode."""
        del key, params
        return jnp.zeros(1), Clock(time=jnp.int32(0))

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """Advance; the second step is the last."""
        del key, action, params
        last = state.time == 1
        return Step(
            obs=jnp.ones(1),
            state=Clock(time=state.time + 1),
            reward=last.astype(jnp.float32),
            terminated=last,
            truncated=jnp.bool_(False),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """The number of steps so far."""
        return gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """Two actions without effect."""
        return gymnasium.spaces.Discrete(2)


class Cut:
    """Reward 1 each step, and an end after `length` steps of one kind or the other.

    Cut by a time limit (`terminates=False`), the episode would have gone on:
    V = 1 / (1 − γ) everywhere. Terminated, nothing follows: V = (1 − γⁿ) / (1 − γ) with
    n steps to go. The observation is the share of the episode that has passed, so that
    the two differ in nothing but what the end means.
    """

    def __init__(self, terminates: bool = False) -> None:
        self.terminates = terminates

    default_params = CountingParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Start an episode."""
        del key, params
        return jnp.zeros(1), Clock(time=jnp.int32(0))

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """Advance by one step."""
        del key, action
        time = state.time + 1
        over = time >= params.length
        return Step(
            obs=jnp.reshape(time / params.length, (1,)),
            state=Clock(time=time),
            reward=jnp.float32(1),
            terminated=over & self.terminates,
            truncated=over & (not self.terminates),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """Share of the episode that has passed."""
        return gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """Two actions without effect."""
        return gymnasium.spaces.Discrete(2)


class Match:
    """One step: shown −1 or 1, answer 0 or 1. Reward 1 if right, else 0.

    The best policy's return is 1, a random one's 1/2.
    """

    default_params = NoParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Draw what to show."""
        del params
        target = jax.random.bernoulli(key).astype(jnp.int32)
        return self._show(target), Target(target=target)

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """Reward the answer and end."""
        del key, params
        return Step(
            obs=self._show(state.target),
            state=state,
            reward=(action == state.target).astype(jnp.float32),
            terminated=jnp.bool_(True),
            truncated=jnp.bool_(False),
            info={},
        )

    def _show(self, target: jax.Array) -> jax.Array:
        return jnp.reshape(2.0 * target - 1, (1,))

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """−1 or 1."""
        return gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """The two answers."""
        return gymnasium.spaces.Discrete(2)


class Identity:
    """One step: shown two numbers in [−1, 1], answer with them. Reward −|a − x|².

    The best policy's return is 0; always answering 0 gets −2/3.
    """

    default_params = NoParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Draw what to show."""
        del params
        target = jax.random.uniform(key, (2,), minval=-1.0)
        return target, Target(target=target)

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """Reward the answer and end."""
        del key, params
        return Step(
            obs=state.target,
            state=state,
            reward=-jnp.sum(jnp.square(action - state.target)),
            terminated=jnp.bool_(True),
            truncated=jnp.bool_(False),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """What to answer."""
        return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """The answer."""
        return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


class Counting:
    """Rewards 1, 2, 3 ... until the episode terminates after `length` steps.

    Nothing is random, so every figure of a run can be worked out by hand.
    """

    default_params = CountingParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Start an episode."""
        del key, params
        return jnp.zeros(1), Clock(time=jnp.int32(0))

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """Advance by one step."""
        del key, action
        time = state.time + 1
        return Step(
            obs=jnp.reshape(time.astype(jnp.float32), (1,)),
            state=Clock(time=time),
            reward=time.astype(jnp.float32),
            terminated=time >= params.length,
            truncated=jnp.bool_(False),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """The number of steps so far."""
        return gymnasium.spaces.Box(0.0, np.inf, (1,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """Two actions without effect."""
        return gymnasium.spaces.Discrete(2)
