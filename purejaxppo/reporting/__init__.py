"""From studies to reports: tables, pictures, pages that open from the disk."""

from purejaxppo.reporting.briefly import cautions, draw, summaries, write_brief
from purejaxppo.reporting.writing import (
    read_comparison,
    read_report,
    write_comparison,
    write_report,
)

__all__ = [
    "cautions",
    "draw",
    "read_comparison",
    "read_report",
    "summaries",
    "write_brief",
    "write_comparison",
    "write_report",
]
