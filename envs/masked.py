"""Tasks in which an invalid action ends the episode: to be played with action masks.

What is valid cannot be seen but in the mask, so that a policy without it fails however
well it learns. One task for each shape of mask: of a Discrete action, of the dimensions
of a MultiDiscrete, and of the parts of a hybrid.
"""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step
from purejaxppo.environments.wrappers import HideMask


class DoorsParams(NamedTuple):
    """Rooms to walk through, limit of steps, and reward of running into a door."""

    length: int = 10
    max_steps: int = 100
    invalid: float = -1.0


class DoorsState(NamedTuple):
    """Which room, which doors show light and which are open `[num_doors]`; time."""

    room: jax.Array
    light: jax.Array
    open: jax.Array
    time: jax.Array


class Doors:
    """A row of rooms with many doors, of which few are open, others in each room.

    One open door shows light and leads on; the other open ones are dark and lead back
    by a room. Of the shut ones half show light.

    Observation: Dict. "observation": light of each door, 0 or 1, and the room's share
    of the way: Box(num_doors + 1). "action_mask": MultiBinary(num_doors), 1 where open.

    Action: Discrete(num_doors).

    Reward: 1 / length for a room forward, minus that for a room back, −1 for a shut
    door. The best return is 1, in `length` steps. Any valid action, at random: 0.05, no
    end before the limit. Any action, at random: a shut door at once in 7 of 8 cases,
    return −1.

    Termination: behind the last room, or at a shut door.

    Truncation: after `max_steps`.

    State: the room, lights, open doors and time.
    """

    def __init__(self, num_doors: int = 32, num_open: int = 4) -> None:
        self.num_doors, self.num_open = num_doors, num_open

    default_params = DoorsParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, DoorsState]:
        """Enter the first room."""
        state = self._enter(key, jnp.int32(0), jnp.int32(0))
        return self._observe(state, params), state

    def step(self, key: jax.Array, state: DoorsState, action: Any, params: Any) -> Step:
        """Walk through a door."""
        valid = state.open[action]
        way = jnp.where(valid, jnp.where(state.light[action], 1, -1), 0)
        room = jnp.maximum(state.room + way, 0)
        after = self._enter(key, room, state.time + 1)
        terminated = ~valid | (room >= params.length)
        gain = (room - state.room) / params.length
        return Step(
            obs=self._observe(after, params),
            state=after,
            reward=jnp.where(valid, gain, params.invalid),
            terminated=terminated,
            truncated=(after.time >= params.max_steps) & ~terminated,
            info={},
        )

    def _enter(self, key: jax.Array, room: jax.Array, time: jax.Array) -> DoorsState:
        order_key, light_key = jax.random.split(key)
        order = _rank(jax.random.uniform(order_key, (self.num_doors,)))
        lit = jax.random.bernoulli(light_key, shape=(self.num_doors,))
        is_open = order < self.num_open
        light = jnp.where(is_open, order == 0, lit)
        return DoorsState(room=room, light=light, open=is_open, time=time)

    def _observe(self, state: DoorsState, params: Any) -> dict[str, jax.Array]:
        way = jnp.reshape(state.room / params.length, (1,))
        return {
            "observation": jnp.concatenate([state.light, way]).astype(jnp.float32),
            "action_mask": state.open.astype(jnp.int8),
        }

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """Lights and the way so far; open doors."""
        return gymnasium.spaces.Dict(
            observation=gymnasium.spaces.Box(
                0.0, 1.0, (self.num_doors + 1,), np.float32
            ),
            action_mask=gymnasium.spaces.MultiBinary(self.num_doors),
        )

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """A door."""
        return gymnasium.spaces.Discrete(self.num_doors)


class DarkDoors(HideMask):
    """`Doors` to a policy that is not told which doors are open.

    Observation: light of each door, 0 or 1, and the room's share of the way:
    Box(num_doors + 1).

    Action: Discrete(num_doors).

    Reward: as in `Doors`. A door that shows light is open in 2 of 29 cases, which makes
    a return of −0.99.

    Termination: behind the last room, or at a shut door.

    Truncation: after `max_steps`.

    State: as in `Doors`.
    """

    def __init__(self, num_doors: int = 32, num_open: int = 4) -> None:
        super().__init__(Doors(num_doors, num_open))


class GridParams(NamedTuple):
    """Side of the grid (3 or more), limit of steps, and reward of an invalid move."""

    size: int = 10
    max_steps: int = 50
    invalid: float = -1.0


class GridState(NamedTuple):
    """Cells of the agent and the target, `[2]`; valid moves `[2, 5]`; time."""

    cell: jax.Array
    target: jax.Array
    valid: jax.Array
    time: jax.Array


class MaskedGrid:
    """Reach a cell of a grid by moves of −2 to 2 along both axes at once.

    At each step 3 of the 5 moves along an axis are valid, drawn anew among those that
    stay on the grid; each axis for itself.

    Observation: Dict. "observation": row and column of the agent, then the target's,
    from 0 to 1. "action_mask": MultiBinary(10), the rows' moves, then the columns'.

    Action: MultiDiscrete([5, 5]), the move plus 2.

    Reward: −1 / max_steps a step and 1 at the target, but −1 for an invalid move. Going
    as near as the valid moves allow gets 0.92 on average, in 4 steps. Any valid move,
    at random: −0.49, no end but at the target or the limit. Any move, at random:
    invalid in 16 of 25 cases, return −1.00.

    Termination: at the target, or by an invalid move.

    Truncation: after `max_steps`.

    State: the agent's cell, the target, valid moves and time.
    """

    default_params = GridParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, GridState]:
        """Draw two different cells."""
        cell_key, target_key, valid_key = jax.random.split(key, 3)
        number = params.size**2
        cell = jax.random.randint(cell_key, (), 0, number)
        target = (cell + jax.random.randint(target_key, (), 1, number)) % number
        cells = jnp.stack([cell, target])
        row, column = cells // params.size, cells % params.size
        start = jnp.stack([row[0], column[0]])
        state = GridState(
            cell=start,
            target=jnp.stack([row[1], column[1]]),
            valid=_valid_moves(valid_key, start, params),
            time=jnp.int32(0),
        )
        return _observe_grid(state, params), state

    def step(self, key: jax.Array, state: GridState, action: Any, params: Any) -> Step:
        """Move along both axes."""
        valid = jnp.all(state.valid[jnp.arange(2), action])
        cell = jnp.where(valid, state.cell + action - 2, state.cell)
        after = GridState(
            cell=cell,
            target=state.target,
            valid=_valid_moves(key, cell, params),
            time=state.time + 1,
        )
        there = jnp.all(cell == state.target)
        reward = there - 1 / params.max_steps
        return Step(
            obs=_observe_grid(after, params),
            state=after,
            reward=jnp.where(valid, reward, params.invalid),
            terminated=there | ~valid,
            truncated=(after.time >= params.max_steps) & valid & ~there,
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """Where the agent and the target are; valid moves."""
        return gymnasium.spaces.Dict(
            observation=gymnasium.spaces.Box(0.0, 1.0, (4,), np.float32),
            action_mask=gymnasium.spaces.MultiBinary(10),
        )

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """A move along each axis."""
        return gymnasium.spaces.MultiDiscrete([5, 5])


def _valid_moves(key: jax.Array, cell: jax.Array, params: Any) -> jax.Array:
    to = cell[:, None] + jnp.arange(-2, 3)[None]
    on_grid = (to >= 0) & (to < params.size)
    luck = jnp.where(on_grid, jax.random.uniform(key, (2, 5)), -1.0)
    return jax.vmap(_rank)(luck) < 3


def _observe_grid(state: GridState, params: Any) -> dict[str, jax.Array]:
    cells = jnp.concatenate([state.cell, state.target])
    return {
        "observation": (cells / (params.size - 1)).astype(jnp.float32),
        "action_mask": state.valid.reshape(-1).astype(jnp.int8),
    }


class ConsoleParams(NamedTuple):
    """Length of an episode, and reward of an invalid action."""

    length: int = 20
    invalid: float = -1.0


class ConsoleState(NamedTuple):
    """What is asked for and what is valid.

    Attributes:
      light: of each lever, `[8]`.
      unlocked: which levers are, `[8]`.
      bits: wanted position of each switch, `[3]`.
      stuck: which switches are, in the wanted position, `[3]`.
      level: wanted, `[1]`.
      time: steps so far.
    """

    light: jax.Array
    unlocked: jax.Array
    bits: jax.Array
    stuck: jax.Array
    level: jax.Array
    time: jax.Array


class Console:
    """Obey a console: pull a lever, set three switches and a slider, all at once.

    Two of the 8 levers are unlocked, one of which shows light; of the locked ones half
    show light too. Each switch is stuck with a chance of ½, in the wanted position.

    Observation: Dict. "observation": light of each lever, wanted position of each
    switch, wanted level: Box(12). "action_mask": Dict by part of the action:
    lever=MultiBinary(8), switches=MultiBinary((3, 2)), may it be 0 and may it be 1; the
    slider is free.

    Action: Dict(lever=Discrete(8), switches=MultiBinary(3), slider=Box(−1, 1, (1,))).

    Reward: a third each for a lever that shows light, for the share of switches in
    place, and for the slider (1 − half its distance). −1 for an invalid action. In 20
    steps the best return is 20; any valid action at random gets 12.8; any action at
    random is invalid in nine of ten cases, return −0.93.

    Termination: by a locked lever, or a stuck switch that is to move.

    Truncation: after `length` steps.

    State: lights, unlocked levers, wanted positions, stuck switches, level and time.
    """

    default_params = ConsoleParams()

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, ConsoleState]:
        """Draw what is asked for."""
        del params
        state = _ask(key, jnp.int32(0))
        return _observe_console(state), state

    def step(
        self, key: jax.Array, state: ConsoleState, action: Any, params: Any
    ) -> Step:
        """Judge the action and ask for the next."""
        lever, in_place = action["lever"], action["switches"] == state.bits
        valid = state.unlocked[lever] & jnp.all(in_place | ~state.stuck)
        off = jnp.mean(jnp.abs(action["slider"] - state.level)) / 2
        score = (state.light[lever] + jnp.mean(in_place) + 1 - off) / 3
        after = _ask(key, state.time + 1)
        return Step(
            obs=_observe_console(after),
            state=after,
            reward=jnp.where(valid, score, params.invalid),
            terminated=~valid,
            truncated=(after.time >= params.length) & valid,
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """What is asked for; what is valid."""
        low = np.array([0] * 11 + [-1], np.float32)
        return gymnasium.spaces.Dict(
            observation=gymnasium.spaces.Box(low, np.ones(12, np.float32)),
            action_mask=gymnasium.spaces.Dict(
                lever=gymnasium.spaces.MultiBinary(8),
                switches=gymnasium.spaces.MultiBinary((3, 2)),
            ),
        )

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """A lever, three switches and a slider."""
        return gymnasium.spaces.Dict(
            lever=gymnasium.spaces.Discrete(8),
            switches=gymnasium.spaces.MultiBinary(3),
            slider=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
        )


def _ask(key: jax.Array, time: jax.Array) -> ConsoleState:
    order_key, light_key, bits_key, stuck_key, level_key = jax.random.split(key, 5)
    order = _rank(jax.random.uniform(order_key, (8,)))
    lit = jax.random.bernoulli(light_key, shape=(8,))
    return ConsoleState(
        light=jnp.where(order < 2, order == 0, lit),
        unlocked=order < 2,
        bits=jax.random.bernoulli(bits_key, shape=(3,)).astype(jnp.int8),
        stuck=jax.random.bernoulli(stuck_key, shape=(3,)),
        level=jax.random.uniform(level_key, (1,), minval=-1.0),
        time=time,
    )


def _observe_console(state: ConsoleState) -> dict[str, Any]:
    shown = [state.light, state.bits, state.level]
    may_be = jnp.arange(2)[None] == state.bits[:, None]
    switches = may_be | ~state.stuck[:, None]
    return {
        "observation": jnp.concatenate([x.astype(jnp.float32) for x in shown]),
        "action_mask": {
            "lever": state.unlocked.astype(jnp.int8),
            "switches": switches.astype(jnp.int8),
        },
    }


def _rank(x: jax.Array) -> jax.Array:
    """How many come before each of few numbers, the largest first."""
    first = jnp.arange(x.size)[None] < jnp.arange(x.size)[:, None]
    before = (x[None] > x[:, None]) | ((x[None] == x[:, None]) & first)
    return jnp.sum(before, axis=1)
