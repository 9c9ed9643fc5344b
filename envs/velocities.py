"""Cart-pole with its velocities hidden: they must be told from what one remembers.

Source: Daan Wierstra et al., "Solving Deep Memory POMDPs with Recurrent Policy
Gradients", 2007; the cart-pole is gymnax's CartPole-v1.
"""

from purejaxppo.environments.suites import make
from purejaxppo.environments.wrappers import SelectObservation


class HiddenVelocities(SelectObservation):
    """CartPole-v1 without its velocities.

    Observation: Box(2): position of the cart, angle of the pole (entries 0 and 2).
    Action: Discrete(2): push to the left, to the right.
    Reward: 1 a step. The best return is 500.
    Termination: the pole or the cart has gone too far.
    Truncation: after 500 steps (gymnax's `max_steps_in_episode`).
    State: gymnax's own, velocities and all.
    """

    def __init__(self) -> None:
        env, _ = make("CartPole-v1")
        super().__init__(env, indices=(0, 2))
