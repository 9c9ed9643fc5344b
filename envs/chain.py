"""bsuite's memory chain, longer than gymnax makes it.

Source: Osband et al., "Behaviour suite for reinforcement learning", 2020; the
environment is gymnax's MemoryChain-bsuite.
"""

from typing import Any

from purejaxppo import Environment, make


def memory_chain() -> tuple[Environment, Any]:
    """MemoryChain-bsuite of 10 steps: a bit is shown first, and asked for last.

    Observation: Box(3): share of the time that is left, which bit is asked for (there
    is but one, number 0), and the bit, −1 or 1, at first and after one step, then 0.
    Action: Discrete(2), which matters in the 11th and last step only: the bit.
    Reward: 1 for the right answer, −1 for the wrong one. Chance, and any policy without
    memory, has 0.
    Termination: after the answer.
    Truncation: gymnax's limit of 1000 steps, which is never reached.
    State: gymnax's own.
    """
    env, env_params = make("MemoryChain-bsuite")
    return env, env_params.replace(memory_length=10)
