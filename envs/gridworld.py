"""The gridworld of Sutton and Barto, whose values are known.

Source: Richard Sutton and Andrew Barto, "Reinforcement Learning: An Introduction",
second edition, 2018, examples 3.5 and 3.8.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step

SIZE = 5
MOVES = ((-1, 0), (1, 0), (0, 1), (0, -1))
"""North, south, east and west, as (rows, columns)."""
JUMPS = {(0, 1): ((4, 1), 10.0), (0, 3): ((2, 3), 5.0)}
"""A -> A' and B -> B', with their rewards."""


class Tables(NamedTuple):
    """Where each action leads from each cell, and its reward: `[25, 4]` both."""

    next_cell: np.ndarray
    reward: np.ndarray


class Params(NamedTuple):
    """Length of an episode."""

    max_steps: int = 100


class State(NamedTuple):
    """The cell, counted row by row from the north-west, and the time."""

    cell: jax.Array
    time: jax.Array


def transitions() -> Tables:
    """The task itself: all next cells and rewards."""
    tables = Tables(
        next_cell=np.zeros((SIZE**2, len(MOVES)), np.int32),
        reward=np.zeros((SIZE**2, len(MOVES)), np.float32),
    )
    for cell in range(SIZE**2):
        for action, move in enumerate(MOVES):
            (row, column), reward = _move(divmod(cell, SIZE), move)
            tables.next_cell[cell, action] = row * SIZE + column
            tables.reward[cell, action] = reward
    return tables


def _move(
    cell: tuple[int, int], move: tuple[int, int]
) -> tuple[tuple[int, int], float]:
    if cell in JUMPS:
        return JUMPS[cell]
    row, column = cell[0] + move[0], cell[1] + move[1]
    if 0 <= row < SIZE and 0 <= column < SIZE:
        return (row, column), 0.0
    return cell, -1.0


def random_values(gamma: float = 0.9) -> np.ndarray:
    """Values `[5, 5]` of choosing all actions with the same chance, without a limit.

    The fixed point of v(s) = mean over a of r(s, a) + γ v(s').
    """
    return _fixed_point(gamma, lambda q: q.mean(1))


def optimal_values(gamma: float = 0.9) -> np.ndarray:
    """Values `[5, 5]` of the best policy, without a limit.

    The fixed point of v(s) = max over a of r(s, a) + γ v(s').
    """
    return _fixed_point(gamma, lambda q: q.max(1))


def _fixed_point(
    gamma: float, backup: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    tables = transitions()
    values, change = np.zeros(SIZE**2), 1.0
    while change > 1e-10 * (1 - gamma):
        new = backup(tables.reward + gamma * values[tables.next_cell])
        values, change = new, np.max(np.abs(new - values))
    return values.reshape(SIZE, SIZE)


class Gridworld:
    """Walk on a grid of 5 x 5 cells; two of them jump, with a reward.

    Observation: Discrete(25), the cell, counted row by row from the north-west.

    Action: Discrete(4): north, south, east, west.

    Reward: 10 for any action in A (row 0, column 1), which leads to A' (row 4), and 5
    in B (row 0, column 3), which leads to B' (row 2); −1 for a step off the grid, which
    leaves one where one is; else 0.

    Termination: never. The task is a continuing one, and `random_values` and
    `optimal_values` are its values, the published ones for γ = 0.9.

    Truncation: after `max_steps`.

    State: the cell, uniformly random at the start, and the time.
    """

    default_params = Params()

    def __init__(self) -> None:
        self.tables = transitions()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, State]:
        """Draw a cell."""
        del params
        cell = jax.random.randint(key, (), 0, SIZE**2)
        return cell, State(cell=cell, time=jnp.int32(0))

    def step(self, key: jax.Array, state: State, action: Any, params: Any) -> Step:
        """Walk or jump."""
        del key
        cell = jnp.asarray(self.tables.next_cell)[state.cell, action]
        time = state.time + 1
        return Step(
            obs=cell,
            state=State(cell=cell, time=time),
            reward=jnp.asarray(self.tables.reward)[state.cell, action],
            terminated=jnp.bool_(False),
            truncated=time >= params.max_steps,
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """The cell."""
        return gymnasium.spaces.Discrete(SIZE**2)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """North, south, east, west."""
        return gymnasium.spaces.Discrete(len(MOVES))

    def render(self, state: State, params: Any) -> np.ndarray:
        """The grid: A and B green, A' and B' yellow, agent blue; `[200, 200, 3]`."""
        cells = np.full((SIZE, SIZE, 3), 255, np.uint8)
        for start, (end, _) in JUMPS.items():
            cells[start], cells[end] = (120, 200, 120), (250, 230, 120)
        image = np.kron(cells, np.ones((40, 40, 1), np.uint8))
        image[::40] = image[:, ::40] = 180
        row, column = divmod(int(state.cell), SIZE)
        top, left = 40 * row, 40 * column
        image[top + 10 : top + 31, left + 10 : left + 31] = (25, 75, 230)
        return image
