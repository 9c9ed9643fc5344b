"""A T-maze: what one saw at the start decides where to turn at the far end.

Source: Bram Bakker, "Reinforcement Learning with Long Short-Term Memory", 2002.
"""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step

NORTH, EAST, SOUTH, WEST = 0, 1, 2, 3
SIGNS = np.array([[0, 1, 1], [1, 1, 0]], np.float32)
CORRIDOR = np.array([1, 0, 1], np.float32)
JUNCTION = np.array([0, 1, 0], np.float32)


class Params(NamedTuple):
    """Sizes and rewards.

    Attributes:
      length: steps from the start to the junction.
      max_steps: of an episode.
      right: reward at the goal.
      wrong: reward at the end of the other arm.
      still: reward for walking into a wall.
    """

    length: int = 10
    max_steps: int = 100
    right: float = 4.0
    wrong: float = -0.1
    still: float = -0.1


class State(NamedTuple):
    """Steps east of the start, the goal's side (0 north, 1 south), and the time."""

    position: jax.Array
    side: jax.Array
    time: jax.Array


class TMaze:
    """Walk east along a corridor, then turn north or south as the sign had said.

    Observation: 3 bits as floats. The first one is the sign: 011 goal in the north, 110
    in the south, with equal chances. Afterwards 101 in the corridor, its start too, and
    010 at the junction. (In the source the start always shows the sign.)

    Action: Discrete(4): north, east, south, west. A step into a wall stays in place.

    Reward: 4 for the right turn at the junction, −0.1 for the wrong one, −0.1 for a
    step into a wall, else 0, as in the source. The best return is 4, after `length` + 1
    steps. Without memory the turn is a guess: at most (4 − 0.1) / 2 = 1.95 on average.

    Termination: by a turn at the junction.

    Truncation: after `max_steps`, ten times the length unless said otherwise.

    State: steps east of the start, the goal's side, and the time.
    """

    def __init__(self, length: int = 10) -> None:
        self.default_params = Params(length=length, max_steps=10 * length)

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, State]:
        """Put up the sign."""
        del params
        side = jax.random.bernoulli(key).astype(jnp.int32)
        start = State(position=jnp.int32(0), side=side, time=jnp.int32(0))
        return jnp.asarray(SIGNS)[side], start

    def step(self, key: jax.Array, state: State, action: Any, params: Any) -> Step:
        """Walk, or turn at the junction."""
        del key
        time = state.time + 1
        junction = state.position == params.length
        east = (action == EAST) & ~junction
        west = (action == WEST) & (state.position > 0)
        turn = junction & ((action == NORTH) | (action == SOUTH))
        right = action == jnp.where(state.side == 0, NORTH, SOUTH)
        walk = jnp.where(east | west, 0.0, params.still)
        position = state.position + east.astype(jnp.int32) - west.astype(jnp.int32)
        return Step(
            obs=jnp.where(position == params.length, JUNCTION, CORRIDOR),
            state=State(position=position, side=state.side, time=time),
            reward=jnp.where(turn, jnp.where(right, params.right, params.wrong), walk),
            terminated=turn,
            truncated=(time >= params.max_steps) & ~turn,
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """3 bits."""
        return gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """North, east, south, west."""
        return gymnasium.spaces.Discrete(4)
