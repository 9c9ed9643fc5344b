"""Numbers and lists as people read them: no more digits than mean something."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from purejaxppo.reliability.caveats import title
from purejaxppo.reliability.intervals import Interval

NOTHING = "n/a"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

SMALL, LARGE = 1e-3, 1e9
"""Numbers between them are written out, others with a power of ten."""


def number(value: float, digits: int = 4) -> str:
    """Return a number of so many significant digits, all of a whole number's.

    >>> number(488.23), number(-83.2), number(1234567), number(-3.21e-6)
    ('488.2', '−83.2', '1,234,567', '−3.21 × 10⁻⁶')

    Args:
        value: NaN is "n/a".
        digits: at least 1.
    """
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else _signed("∞", value)
    rounded = float(f"{value:.{digits}g}")
    exponent = _exponent(abs(rounded))
    if exponent == 0 and abs(value) >= 10**digits:
        rounded = value  # All digits before the point are written.
    scaled, places = abs(rounded) / 10.0**exponent, digits
    if scaled >= 10**digits:
        places = len(str(int(scaled)))
    text = np.format_float_positional(scaled, places, fractional=False, trim="-")
    whole, point, rest = text.partition(".")
    return _signed(f"{int(whole):,}{point}{rest}", value) + _power(exponent)


def estimate(interval: Interval) -> str:
    """Return the estimate of a scalar with as many digits as its interval lets stand.

    >>> estimate(Interval(488.234, 486.1, 490.3)), estimate(Interval(0.5, 0.5, 0.5))
    ('488.2', '0.5')
    """
    return _in_digits(interval, [float(interval.estimate)])[0]


def ends(interval: Interval) -> str:
    """Return the ends of a scalar's interval.

    >>> ends(Interval(488.234, 486.1, 490.3)), ends(Interval(1.0, np.nan, np.nan))
    ('[486.1, 490.3]', 'n/a')
    """
    low, high = float(interval.low), float(interval.high)
    if math.isnan(low) or math.isnan(high):
        return NOTHING
    power = _power(_exponent(_largest(interval)))
    texts = [text.removesuffix(power) for text in _in_digits(interval, [low, high])]
    return f"[{', '.join(texts)}]{power}"


def with_ends(interval: Interval) -> str:
    """Return a scalar, and its interval if it has one.

    >>> with_ends(Interval(488.234, 486.1, 490.3))
    '488.2 [486.1, 490.3]'
    >>> with_ends(Interval(2e-6, 1e-6, 3e-6))
    '2.0 [1.0, 3.0] × 10⁻⁶'
    """
    middle, range_ = estimate(interval), ends(interval)
    if range_ == NOTHING:
        return middle
    power = _power(_exponent(_largest(interval)))
    return f"{middle.removesuffix(power)} {range_}"


def p_value(value: float) -> str:
    """Return a p value of two digits.

    >>> p_value(0.04321), p_value(1e-4), p_value(1.0), p_value(float("nan"))
    ('0.043', '0.0001', '1', 'n/a')
    """
    if math.isnan(value):
        return NOTHING
    return np.format_float_positional(value, 2, fractional=False, trim="-")


def percent(share: float) -> str:
    """Return a share as it is said.

    >>> percent(0.25), percent(0.125)
    ('25 %', '12.5 %')
    """
    return f"{100 * share:g} %"


def counted(count: int, thing: str = "run") -> str:
    """Return how many there are.

    >>> counted(1), counted(2048)
    ('1 run', '2,048 runs')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def cell_title(name: str) -> str:
    """Return what people call a cell.

    >>> cell_title("short_term_risk"), cell_title("risk_across_runs")
    ('short-term risk', 'risk across runs')
    """
    return title(name)


def spans(values: Iterable[int]) -> str:
    """Return whole numbers with what follows on each other drawn together.

    >>> spans([0, 1, 2, 3, 7, 9, 10])
    '0 to 3, 7, 9, 10'
    """
    groups: list[list[int]] = []
    for value in sorted({int(value) for value in values}):
        if groups and value == groups[-1][-1] + 1:
            groups[-1].append(value)
        else:
            groups.append([value])
    parts = []
    for group in groups:
        some = len(group) > 2
        parts += [f"{group[0]} to {group[-1]}"] if some else map(str, group)
    return ", ".join(parts)


def _in_digits(interval: Interval, values: Sequence[float]) -> list[str]:
    """Numbers with one power of ten, and decimals for two digits of the width."""
    width = float(interval.high) - float(interval.low)
    if not width > 0 or not math.isfinite(width):
        return [number(value) for value in values]
    exponent = _exponent(_largest(interval))
    decimals = max(0, 1 - math.floor(math.log10(width / 10.0**exponent)))
    return [
        NOTHING
        if math.isnan(value)
        else _signed(f"{abs(value) / 10.0**exponent:,.{decimals}f}", value)
        + _power(exponent)
        for value in values
    ]


def _largest(interval: Interval) -> float:
    return float(np.nanmax(np.abs([float(end) for end in interval])))


def _exponent(size: float) -> int:
    if size == 0 or not math.isfinite(size) or SMALL <= size < LARGE:
        return 0
    return math.floor(math.log10(size))


def _power(exponent: int) -> str:
    if exponent == 0:
        return ""
    return f" × 10{str(exponent).translate(_SUPERSCRIPTS)}"


def _signed(text: str, value: float) -> str:
    zero = not text.strip("0.,")
    return f"−{text}" if value < 0 and not zero else text
