"""Words of figures: names that fit, numbers that a person can read."""

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, MaxNLocator

_SUFFIXES = ("", "k", "M", "B", "T")


def number(value: float, digits: int = 3, suffix: bool = True) -> str:
    """Return a number of so many significant digits: 12.3k, −0.5, 2e−6.

    >>> number(12345), number(999.9), number(-0.5), number(2e-6), number(3.2e21)
    ('12.3k', '1k', '−0.5', '2e−6', '3.2e21')

    Args:
        value: NaN is "n/a".
        digits: at least 1.
        suffix: whether k, M, B and T stand for thousands and so on.
    """
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    # Rounded first: 999.9 is 1k, not 1000.
    value = float(f"{value:.{digits}g}") + 0.0  # No "−0".
    size = abs(value)
    group = int(math.log10(size) / 3 + 1e-12) if suffix and size >= 1000 else 0
    if group >= len(_SUFFIXES):
        group = 0
    # Nothing but the digits that are left: 12 are more than any of them has.
    text = f"{value / 1000**group:.12g}"
    mantissa, _, exponent = text.partition("e")
    if exponent:
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−") + _SUFFIXES[group]


class Numbers(Formatter):
    """Tick labels of as many digits as tell the ticks apart."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of one tick by itself."""
        return number(x)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks, each rounded by nothing that shows."""
        ticks = np.asarray(values, float)
        if ticks.size == 0:
            return []
        step = np.min(np.diff(np.sort(ticks))) if ticks.size > 1 else np.max(ticks)
        largest = max(np.abs(ticks).max(), np.finfo(float).tiny)
        # What is next to 0 for the other ticks is 0.
        ticks = np.where(np.abs(ticks) < 1e-9 * largest, 0, ticks)
        digits = 1
        while digits < 12 and np.any(
            np.abs(_rounded(ticks, digits) - ticks) > 1e-3 * abs(step)
        ):
            digits += 1
        # 10.005k is no shorter than 10005.
        suffix = digits <= 3 or largest >= 1e6
        return [number(tick, digits, suffix) for tick in ticks]


def _rounded(values: np.ndarray, digits: int) -> np.ndarray:
    return np.asarray([float(f"{value:.{digits}g}") for value in values])


def plain_numbers(axis: Axis, most: int | None = None) -> None:
    """Label an axis with `number`, with `most` intervals or as many as fit.

    Args:
        axis: of axes whose limits are final.
        most: half as many where the labels are long.
    """
    axis.set_major_formatter(Numbers())
    if most:
        steps = [1, 2, 2.5, 5, 10]
        axis.set_major_locator(MaxNLocator(nbins=most, steps=steps))
        labels = Numbers().format_ticks(axis.get_majorticklocs().tolist())
        if max(map(len, labels), default=0) > 6:
            axis.set_major_locator(MaxNLocator(nbins=most // 2, steps=steps))


def percent(share: float) -> str:
    """Return a share as it is said: 5 %."""
    return f"{100 * share:g} %"


def counted(count: int) -> str:
    """Return "1 run", "2 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"


def observed_of(observed: int, everything: int) -> str:
    """Return how many runs count: "64 runs", or "63 of 64 runs"."""
    if observed == everything:
        return counted(everything)
    return f"{observed} of {counted(everything)}"


def wrapped(text: str, width: int, lines: int | None = None) -> str:
    r"""Return a text in lines of at most `width` letters, without its middle if long.

    >>> wrapped("proximal policy optimisation", 10)
    'proximal\npolicy\noptimisati\non'
    >>> wrapped("ppo_with_everything_and_dropout", 12, 2)
    'ppo_with_…\nand_dropout'
    >>> wrapped("ppo_with_everything_and_dropout", 12, 1)
    'ppo_wi…opout'

    Args:
        text: white space counts as one space; lines end there, or after "_-/".
        width: at least 2.
        lines: as many as it takes if `None`.
    """
    text, split = " ".join(text.split()), [""]
    for part in re.findall(r"[^ _/-]*[ _/-]*", text):
        if len(split[-1] + part.rstrip()) > width:
            split.append("")
        split[-1] += part
        while len(split[-1].rstrip()) > width:
            split[-1:] = [split[-1][:width], split[-1][width:]]
    split = [line.rstrip() for line in split if line.strip()]
    # Names of variants differ at their ends as often as at their beginnings.
    if lines == 1 and len(split) > 1:
        half = (width - 1) // 2
        split = [text[: width - 1 - half].rstrip() + "…" + text[-half:].lstrip()]
    elif lines is not None and len(split) > lines:
        tail = lines // 2
        head = split[: lines - tail]
        head[-1] = head[-1][: width - 1].rstrip() + "…"
        split = head + split[len(split) - tail :]
    return "\n".join(split)


def names_that_fit(names: Sequence[str], width: int, lines: int) -> list[str]:
    """Return names in few lines; numbered where they would no longer be told apart.

    Args:
        names: all different.
        width: letters of a line.
        lines: of a name.
    """
    short = [wrapped(name, width, lines) for name in names]
    if len(set(short)) == len(short):
        return short
    numbered = (f"{i}: {name}" for i, name in enumerate(names, 1))
    return [wrapped(name, width, lines) for name in numbered]
