"""A policy's episodes in the real gymnasium environment."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import jax
import numpy as np

from purejaxppo.export.gifs import prepare_drawing, reduced
from purejaxppo.export.gymnasium_ids import counterpart, make_real
from purejaxppo.export.policy import Arrays, PortablePolicy, batched

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_BY_SIDE = 256
"""How many episodes are played at once: a call of the policy then costs little each."""


class Played(NamedTuple):
    """What a policy did in gymnasium.

    Attributes:
      returns: undiscounted, `[episodes]`, float64.
      lengths: in steps, `[episodes]`.
      cut: which episodes were still running after `max_steps`, `[episodes]`.
      frames: pictures of the first episode for `write_gif`: its start, then each step.
      fps: how many of them make a second, as the environment says.
    """

    returns: np.ndarray
    lengths: np.ndarray
    cut: np.ndarray
    frames: list["Image"]
    fps: int


def play(
    policy: PortablePolicy,
    episodes: int = 100,
    *,
    seed: int = 0,
    sampled: bool = False,
    max_steps: int = 10_000,
    max_frames: int = 0,
) -> Played:
    """Play a policy in gymnasium's own environment of the same id.

    Episode e starts from a seed made of (`seed`, e), the same for all policies.
    Rewards, physics and time limits are gymnasium's, with its default parameters.

    Args:
      policy: from `make_portable` or `read_policy`.
      episodes: how many.
      seed: of the starts, and of what is sampled.
      sampled: draw the actions; else take the most likely ones.
      max_steps: an episode still running after so many steps is cut.
      max_frames: how many pictures of the first episode to take; 0 needs no pygame.

    Raises:
      ValueError: gymnasium has no such environment, a number is out of range, or a
        package is missing.
    """
    _check_numbers(episodes, seed, max_steps, max_frames)
    envs = _environments(policy, episodes, render=max_frames > 0)
    act, frames, played = _actor(policy, seed, sampled), [], []
    for start in range(0, episodes, size := len(envs)):
        seeds = [_episode_seed(seed, start + i) for i in range(size)]
        watch = partial(_film, envs[0], frames, 0 if start else max_frames)
        memory = batched(policy.memory, size)
        played.append(_play(envs, seeds, partial(act, start), memory, max_steps, watch))
    columns = [
        np.concatenate(column)[:episodes] for column in zip(*played, strict=True)
    ]
    fps = envs[0].metadata["render_fps"]
    for env in envs:
        env.close()
    return Played(*columns, frames=frames, fps=fps)


def _environments(
    policy: PortablePolicy, episodes: int, render: bool
) -> list[gymnasium.Env]:
    """As many as are played side by side; the first one can be drawn."""
    name, stack = counterpart(policy.facts["env"]), policy.facts["frame_stack"]
    if render:
        prepare_drawing()
    rounds = math.ceil(episodes / SIDE_BY_SIDE)
    size = policy.facts["batch"] or math.ceil(episodes / rounds)
    return [make_real(name, stack, render and i == 0) for i in range(size)]


def _play(
    envs: list[gymnasium.Env],
    seeds: list[int],
    act: Callable[[int, Any, Arrays], tuple[Any, Arrays]],
    memory: Arrays,
    max_steps: int,
    watch: Callable[[], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns and lengths of an episode of each environment, and which were cut."""
    starts = zip(envs, seeds, strict=True)
    obs = np.stack([env.reset(seed=seed)[0] for env, seed in starts])
    running = np.ones(len(envs), bool)
    returns, lengths = np.zeros(len(envs)), np.zeros(len(envs), int)
    watch()
    for t in range(max_steps):
        actions, memory = act(t, obs, memory)
        actions = np.asarray(actions)
        for i in np.flatnonzero(running):
            obs[i], reward, terminated, truncated, _ = envs[i].step(actions[i])
            returns[i] += float(reward)
            lengths[i] += 1
            running[i] = not (terminated or truncated)
            if i == 0:
                watch()
        if not running.any():
            break
    return returns, lengths, running


def _actor(
    policy: PortablePolicy, seed: int, sampled: bool
) -> Callable[[int, int, Any, Arrays], tuple[Any, Arrays]]:
    """(number of the first episode, t, obs, memory) -> (actions, memory), compiled."""

    @jax.jit
    def act(params: Arrays, start: Any, t: Any, obs: Any, memory: Arrays) -> Any:
        key = jax.random.fold_in(jax.random.key(np.uint32(seed)), start)
        raw = jax.random.key_data(jax.random.fold_in(key, t))
        greedy, drawn, memory = policy.call(params, obs, memory, raw)
        return drawn if sampled else greedy, memory

    return partial(act, jax.device_put(policy.params))


def _film(env: gymnasium.Env, frames: list["Image"], max_frames: int) -> None:
    """Take a picture, while there are fewer than so many."""
    if len(frames) < max_frames:
        frames.append(reduced(np.asarray(env.render())))


def _episode_seed(seed: int, episode: int) -> int:
    return int(np.random.SeedSequence((seed, episode)).generate_state(1)[0])


def _check_numbers(episodes: int, seed: int, max_steps: int, max_frames: int) -> None:
    ranges = {
        "episodes": (episodes, 1, 2**20),
        "seed": (seed, 0, 2**32 - 1),
        "max_steps": (max_steps, 1, 2**31 - 1),
        "max_frames": (max_frames, 0, 2**16),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise ValueError(f"Expected {name} to be in [{low}, {high}], got {value}.")
