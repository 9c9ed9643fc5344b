"""Recite a fixed sequence that is never shown: needs a memory of how far one is.

Source: OpenAI baselines (2018), common/tests/envs/fixed_sequence_env.py.
"""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step


class Params(NamedTuple):
    """There are none."""


class State(NamedTuple):
    """How much of the sequence has passed."""

    time: jax.Array


class FixedSequence:
    """Take the actions of a sequence, one after another, by trial and error.

    The sequence is drawn once, from the constructor's seed: the same in all episodes.

    Observation: Discrete(1), always 0.
    Action: Discrete(num_actions).
    Reward: 1 for the action whose turn it is, else 0. The best return is `length`, and
    0.7 `length` counts as solved. A policy without memory plays one distribution
    throughout: it gets at most the number of times that the commonest action occurs,
    here 1 of 5.
    Termination: after the last action of the sequence.
    Truncation: never.
    State: how much of the sequence has passed.

    In the source the last step is never rewarded, and the last action never asked for.
    """

    def __init__(self, num_actions: int = 10, length: int = 5, seed: int = 0) -> None:
        self.num_actions = num_actions
        draws = np.random.default_rng(seed).integers(num_actions, size=length)
        self.sequence = tuple(draws.tolist())

    default_params = Params()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, State]:
        """Start from the first action."""
        del key, params
        return jnp.int32(0), State(time=jnp.int32(0))

    def step(self, key: jax.Array, state: State, action: Any, params: Any) -> Step:
        """Reward the right action, and go on in any case."""
        del key, params
        time = state.time + 1
        right = action == jnp.array(self.sequence)[state.time]
        return Step(
            obs=jnp.int32(0),
            state=State(time=time),
            reward=right.astype(jnp.float32),
            terminated=time >= len(self.sequence),
            truncated=jnp.bool_(False),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """Nothing to see."""
        return gymnasium.spaces.Discrete(1)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """What the sequence is made of."""
        return gymnasium.spaces.Discrete(self.num_actions)
