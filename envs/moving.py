"""Moving: drive to a target and stop on it, with a hybrid action.

Source: Thomas Hirtz, gym-hybrid (2020), Moving-v0; after Xiong et al.,
"Parametrized Deep Q-Networks Learning", 2018, and Fan et al., "Hybrid Actor-Critic
Reinforcement Learning in Parameterized Action Space", 2019.
"""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step
from purejaxppo.environments.protocol import Arguments

ACCELERATE, TURN, BRAKE = 0, 1, 2


class Params(NamedTuple):
    """Physics and limits; the source's numbers.

    Attributes:
      max_turn: radians that a turn of 1 adds to the heading.
      max_acceleration: what a power of 1 adds to the speed.
      brake: what braking takes from the speed.
      delta_t: time of a step.
      max_steps: steps that are free; the next one is too late.
      penalty: cost of a step.
      radius: of the target.
    """

    max_turn: float = np.pi / 2
    max_acceleration: float = 0.5
    brake: float = 0.1
    delta_t: float = 0.005
    max_steps: int = 200
    penalty: float = 0.001
    radius: float = 0.1


class State(NamedTuple):
    """Where the agent is `[2]`, its heading in radians and speed; the target `[2]`."""

    position: jax.Array
    heading: jax.Array
    speed: jax.Array
    target: jax.Array
    time: jax.Array


class Moving:
    """Stop inside the target; the field is the square from −1 to 1.

    Observation: 10 numbers: x, y, speed, cosine and sine of the heading, x and y of the
    target, distance to it, 1 inside of it else 0, time / max_steps.

    Action: Tuple(Discrete(3), Box(2)): what to do, and with which arguments: 0
    accelerate by the first (a power in [0, 1]), 1 turn by the second (in [−1, 1]),
    2 brake by neither. Arguments out of bounds are clipped. The agent then drives on.

    Reward: how much nearer the target came, less the penalty of 0.001; and 1 for
    standing still inside the target. A step out of the field or past the limit is worth
    −1, nothing else. A return d₀ − d + 1 − 0.001 T: starts are 0.99 away on average,
    and a mean return of 1.5 counts as solved.

    Termination: at a stop inside the target, out of the field, and at step 201. This
    limit is part of the task: the clock is seen, and running out of time costs 1.

    Truncation: never.

    State: position, heading, speed, target and time; start, heading and target are
    uniformly random, the target's disc inside the field.
    """

    default_params = Params()

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, State]:
        """Draw the start, the heading and the target."""
        position_key, heading_key, target_key = jax.random.split(key, 3)
        limit = 1 - params.radius
        state = State(
            position=jax.random.uniform(position_key, (2,), minval=-1.0),
            heading=jax.random.uniform(heading_key, maxval=2 * np.pi),
            speed=jnp.float32(0),
            target=limit * jax.random.uniform(target_key, (2,), minval=-1.0),
            time=jnp.int32(0),
        )
        return _observe(state, params), state

    def step(self, key: jax.Array, state: State, action: Any, params: Any) -> Step:
        """Accelerate, turn or brake, then drive for `delta_t`."""
        del key
        after = _drive(state, action[0], action[1], params)
        near = _distance(after)
        goal = (near < params.radius) & (after.speed == 0)
        lost = jnp.any(jnp.abs(after.position) > 1) | (after.time > params.max_steps)
        progress = _distance(state) - near - params.penalty
        return Step(
            obs=_observe(after, params),
            state=after,
            reward=jnp.where(goal, progress + 1, jnp.where(lost, -1.0, progress)),
            terminated=goal | lost,
            truncated=jnp.bool_(False),
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """10 numbers; the last step may end out of the field."""
        far = np.inf
        low = np.array([-far, -far, 0, -1, -1, -1, -1, 0, 0, 0], np.float32)
        high = np.array([far, far, far, 1, 1, 1, 1, far, 1, 2], np.float32)
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """What to do, and the arguments of accelerating and turning."""
        low, high = np.array([0, -1], np.float32), np.array([1, 1], np.float32)
        arguments = gymnasium.spaces.Box(low, high, dtype=np.float32)
        return gymnasium.spaces.Tuple((gymnasium.spaces.Discrete(3), arguments))

    def action_arguments(self, params: Any) -> Arguments:
        """Accelerating uses the first argument, turning the second, braking none."""
        return Arguments(type="0", uses={"1": np.array([[1, 0], [0, 1], [0, 0]])})

    def render(self, state: State, params: Any) -> np.ndarray:
        """The field from above: red target, blue agent, black nose; `[200, 200, 3]`."""
        across = (np.arange(200) + 0.5) / 100 - 1
        points = np.stack(np.meshgrid(across, -across), -1)
        image = np.full((200, 200, 3), 255, np.uint8)

        def disc(centre: Any, radius: float, colour: tuple[int, int, int]) -> None:
            offset = points - np.asarray(centre)[None, None]
            image[np.sum(np.square(offset), -1) < radius**2] = colour

        heading = float(state.heading)
        nose = np.array([np.cos(heading), np.sin(heading)])
        disc(state.target, float(params.radius), (255, 128, 128))
        disc(state.position, 0.05, (25, 75, 230))
        disc(np.asarray(state.position) + 0.04 * nose, 0.02, (0, 0, 0))
        return image


def _drive(state: State, kind: jax.Array, arguments: jax.Array, params: Any) -> State:
    gain = params.max_acceleration * jnp.clip(arguments[0], 0, 1)
    turn = params.max_turn * jnp.clip(arguments[1], -1, 1)
    braked = jnp.where(state.speed < params.brake, 0.0, state.speed - params.brake)
    faster = jnp.where(kind == ACCELERATE, state.speed + gain, state.speed)
    speed = jnp.where(kind == BRAKE, braked, faster)
    turned = jnp.mod(state.heading + turn, 2 * np.pi)
    heading = jnp.where(kind == TURN, turned, state.heading)
    along = jnp.stack([jnp.cos(heading), jnp.sin(heading)])
    return state._replace(
        position=state.position + params.delta_t * speed * along,
        heading=heading,
        speed=speed,
        time=state.time + 1,
    )


def _distance(state: State) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(state.position - state.target)))


def _observe(state: State, params: Any) -> jax.Array:
    distance = _distance(state)
    numbers = [
        *state.position,
        state.speed,
        jnp.cos(state.heading),
        jnp.sin(state.heading),
        *state.target,
        distance,
        jnp.where(distance > params.radius, 0.0, 1.0),
        state.time / params.max_steps,
    ]
    return jnp.stack(numbers).astype(jnp.float32)
