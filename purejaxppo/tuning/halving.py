"""Successive halving: when settings are judged, and how many go on.

Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization".
"""

import math
from collections.abc import Mapping

Worth = tuple[float, ...]
"""What settings are ranked by: higher is better, what comes later breaks ties.

-inf is what nothing is known of.
"""


def rung_stops(num_updates: int, num_rungs: int, eta: int) -> list[int]:
    """Updates after which settings are judged: ⌊n / etaᵏ⌋ for k = rungs - 1, ..., 0.

    >>> rung_stops(976, 4, 2)
    [122, 244, 488, 976]

    Raises:
      ValueError: there are fewer updates than the rungs need.
    """
    least = eta ** (num_rungs - 1)
    if num_updates < least:
        raise ValueError(
            f"Expected total_timesteps to make at least {least} updates, for "
            f"{num_rungs} rungs of eta = {eta}, got {num_updates}."
        )
    return [num_updates // eta**k for k in reversed(range(num_rungs))]


def survivors(worth: Mapping[int, Worth], eta: int) -> list[int]:
    """The settings that go on: the best 1 / eta of them, rounded up.

    All go on where nothing is known of any, as before the first episode ends: whom to
    prune would be chance.

    >>> survivors({4: (1.0,), 7: (3.0,), 9: (2.0,)}, 2)
    [7, 9]

    Args:
      worth: number of a setting -> its worth; of equal ones the first goes on.
      eta: how many are judged for each that goes on.

    Returns:
      Their numbers, in increasing order.
    """
    if all(part == -math.inf for of in worth.values() for part in of):
        return sorted(worth)
    ranked = sorted(worth, key=lambda number: (worth[number], -number), reverse=True)
    return sorted(ranked[: -(-len(ranked) // eta)])
