"""Say what is shown: for each kind of action space one task without any dynamics.

A learner that misses one of them has its fault in the distribution of that kind, or in
how its observations are encoded.

Source: OpenAI baselines (2018), common/tests/envs/identity_env.py. Its tests ask for
0.9 a step, and −0.1 a step where the action is a Box.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo import Step


class Params(NamedTuple):
    """Length of an episode."""

    length: int = 100


class State(NamedTuple):
    """What to answer, and the number of steps so far."""

    answer: Any
    time: jax.Array


class _Identity:
    """A new answer each step; the observation is the answer."""

    def __init__(
        self,
        space: gymnasium.spaces.Space,
        draw: Callable[[jax.Array], Any],
        reward: Callable[[Any, Any], jax.Array],
    ) -> None:
        self.space, self.draw, self.reward = space, draw, reward

    default_params = Params()

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, State]:
        """Draw the first answer."""
        del params
        answer = self.draw(key)
        return answer, State(answer=answer, time=jnp.int32(0))

    def step(self, key: jax.Array, state: State, action: Any, params: Any) -> Step:
        """Reward the action and draw the next answer."""
        answer, time = self.draw(key), state.time + 1
        return Step(
            obs=answer,
            state=State(answer=answer, time=time),
            reward=self.reward(action, state.answer),
            terminated=jnp.bool_(False),
            truncated=time >= params.length,
            info={},
        )

    def observation_space(self, params: Any) -> gymnasium.spaces.Space:
        """The same as the actions'."""
        return self.space

    def action_space(self, params: Any) -> gymnasium.spaces.Space:
        """All answers."""
        return self.space


class DiscreteIdentity(_Identity):
    """Say the number shown.

    Observation: Discrete(n), uniformly random at each step.
    Action: Discrete(n).
    Reward: 1 for the number shown, else 0. In 100 steps a random policy gets 100 / n,
    the best 100; 90 counts as solved.
    Termination: never.
    Truncation: after `length` steps (the source calls that done).
    State: the number to say, and the time.
    """

    def __init__(self, n: int = 10) -> None:
        def draw(key: jax.Array) -> jax.Array:
            return jax.random.randint(key, (), 0, n)

        super().__init__(gymnasium.spaces.Discrete(n), draw, _all_equal)


class MultiDiscreteIdentity(_Identity):
    """Say all the numbers shown.

    Observation: MultiDiscrete(nvec), uniformly random at each step.
    Action: MultiDiscrete(nvec).
    Reward: 1 if every number is right, else 0. In 100 steps a random policy gets
    100 / product of nvec, the best 100; 90 counts as solved.
    Termination: never.
    Truncation: after `length` steps (the source calls that done).
    State: the numbers to say, and the time.
    """

    def __init__(self, nvec: tuple[int, ...] = (3, 3)) -> None:
        def draw(key: jax.Array) -> jax.Array:
            return jax.random.randint(key, (len(nvec),), 0, jnp.array(nvec))

        super().__init__(gymnasium.spaces.MultiDiscrete(list(nvec)), draw, _all_equal)


class MultiBinaryIdentity(_Identity):
    """Say all the bits shown.

    Observation: MultiBinary(n), uniformly random at each step.
    Action: MultiBinary(n).
    Reward: 1 if every bit is right, else 0. In 100 steps a random policy gets
    100 / 2ⁿ, the best 100; 90 counts as solved.
    Termination: never.
    Truncation: after `length` steps (the source, which has no bits, calls that done).
    State: the bits to say, and the time.
    """

    def __init__(self, n: int = 3) -> None:
        def draw(key: jax.Array) -> jax.Array:
            return _bits(key, n)

        super().__init__(gymnasium.spaces.MultiBinary(n), draw, _all_equal)


class BoxIdentity(_Identity):
    """Say the real numbers shown.

    Observation: Box(−1, 1, shape), uniformly random at each step.
    Action: Box(−1, 1, shape).
    Reward: −½ |action − shown|². In 100 steps of one number a random policy gets −33.3,
    saying 0 always −16.7, the best 0; −10 counts as solved.
    Termination: never.
    Truncation: after `length` steps (the source calls that done).
    State: the numbers to say, and the time.
    """

    def __init__(self, shape: tuple[int, ...] = (1,)) -> None:
        def draw(key: jax.Array) -> jax.Array:
            return jax.random.uniform(key, shape, minval=-1.0)

        space = gymnasium.spaces.Box(-1.0, 1.0, shape, np.float32)
        super().__init__(space, draw, _closeness)


class HybridIdentity(_Identity):
    """Say everything shown: a number, bits and two real numbers.

    Observation: Dict(kind=Discrete(3), bits=MultiBinary(2), where=Box(−1, 1, (2,))),
    uniformly random at each step.
    Action: the same Dict.
    Reward: 1 for the kind, 1 if both bits are right, −½ |action − shown|² for `where`.
    In 100 steps a random policy gets −8.3, the best 200; 170 counts as solved, of which
    no part can be missing.
    Termination: never.
    Truncation: after `length` steps.
    State: what to say, and the time.
    """

    def __init__(self) -> None:
        def draw(key: jax.Array) -> dict[str, jax.Array]:
            kind_key, bits_key, where_key = jax.random.split(key, 3)
            return {
                "kind": jax.random.randint(kind_key, (), 0, 3),
                "bits": _bits(bits_key, 2),
                "where": jax.random.uniform(where_key, (2,), minval=-1.0),
            }

        def reward(action: Any, answer: Any) -> jax.Array:
            right = sum(_all_equal(action[k], answer[k]) for k in ("kind", "bits"))
            return right + _closeness(action["where"], answer["where"])

        space = gymnasium.spaces.Dict(
            kind=gymnasium.spaces.Discrete(3),
            bits=gymnasium.spaces.MultiBinary(2),
            where=gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32),
        )
        super().__init__(space, draw, reward)


def _bits(key: jax.Array, n: int) -> jax.Array:
    return jax.random.bernoulli(key, shape=(n,)).astype(jnp.int8)


def _all_equal(action: jax.Array, answer: jax.Array) -> jax.Array:
    return jnp.all(action == answer).astype(jnp.float32)


def _closeness(action: jax.Array, answer: jax.Array) -> jax.Array:
    return -0.5 * jnp.sum(jnp.square(action - answer))
