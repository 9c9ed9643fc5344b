"""Environments of gymnax that gymnasium, whose ports they are, has too."""

from typing import Any

import gymnasium
from gymnasium.wrappers import FlattenObservation, FrameStackObservation

COUNTERPARTS = (
    "Acrobot-v1",
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
)
"""Ids that both packages give to the same task."""


def counterpart(env_id: str) -> str:
    """The id in gymnasium of an environment that a policy was trained on.

    >>> counterpart("gymnax/CartPole-v1")
    'CartPole-v1'

    Raises:
      ValueError: gymnasium has none.
    """
    name = env_id.removeprefix("gymnax/")
    if name not in COUNTERPARTS:
        raise ValueError(
            f"Expected env to be one that gymnasium has too, {', '.join(COUNTERPARTS)}"
            f", got {env_id}."
        )
    return name


def make_real(
    env_id: str, frame_stack: int | None = None, render: bool = False
) -> gymnasium.Env:
    """The environment in gymnasium, with its own time limit.

    Frames are stacked as `wrappers.FrameStack` does: joined along the last axis, the
    oldest first, an episode's first observation in all of them.
    """
    mode = "rgb_array" if render else None
    env: Any = gymnasium.make(
        counterpart(env_id), render_mode=mode, disable_env_checker=True
    )
    if frame_stack is not None:
        env = FlattenObservation(FrameStackObservation(env, frame_stack))
    return env
