"""The means that a study is trained with, on which results depend by rounding only."""

import dataclasses

from purejaxppo.config.fields import NON_NEGATIVE, POSITIVE, Technique, field


@dataclasses.dataclass(frozen=True)
class Means(Technique):
    """How a study uses the machine.

    Raises:
      ValueError: a field is out of its range.
    """

    chunk_size: int | None = field(
        None, POSITIVE, "Runs that are trained at once, at most (none: what fits)."
    )
    memory_gib: float | None = field(
        None, POSITIVE, "Memory of each device, in GiB (none: most of what is free)."
    )
    devices_per_run: int = field(
        1, POSITIVE, "Devices that share a run by its environments."
    )
    checkpoint_minutes: float = field(
        5.0, NON_NEGATIVE, "Minutes between checkpoints of the runs under way."
    )


DEFAULT = Means()
"""All that there is, used carefully."""
