"""What is trained: the same job for every library."""

import argparse
from typing import NamedTuple

NUM_STEPS = 128
NUM_EPOCHS = 4
NUM_MINIBATCHES = 4
LEARNING_RATE = 2.5e-4
MAX_GRAD_NORM = 0.5
ENT_COEF = 0.01


class Job(NamedTuple):
    """Agents, environments of each, and environment steps of each."""

    agents: int
    envs: int
    env: str
    total_timesteps: int

    def show(self) -> str:
        """Text such as `64x4 CartPole-v1`."""
        return f"{self.agents}x{self.envs} {self.env}"


def positive(text: str) -> int:
    """An integer of at least 1, such as `50_000`, as an argparse type."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return value


def parse_size(text: str) -> tuple[int, int]:
    """`64x4` as (agents, envs)."""
    agents, separator, envs = text.partition("x")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected AGENTSxENVS, got {text!r}")
    return positive(agents), positive(envs)


def parse_job(text: str) -> Job:
    """`64x4:CartPole-v1:51_200` as a job: agents x envs, environment, steps each."""
    parts = text.split(":")
    if len(parts) != 3 or not parts[1]:
        raise argparse.ArgumentTypeError(f"expected AxE:ENV:STEPS, got {text!r}")
    return make_job(parts[0], parts[1], positive(parts[2]))


def make_job(size: str, env: str, total_timesteps: int) -> Job:
    """A job of `size` such as `64x4`, of at least one update."""
    agents, envs = parse_size(size)
    if total_timesteps < envs * NUM_STEPS:
        raise argparse.ArgumentTypeError(
            f"expected at least one update of {envs * NUM_STEPS} steps for {size}, "
            f"got {total_timesteps}"
        )
    return Job(agents, envs, env, total_timesteps)
