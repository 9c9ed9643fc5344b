"""From studies to reports: tables, pictures, pages that open from the disk."""

from purejaxppo.reporting.briefly import cautions, draw, summaries, write_brief
from purejaxppo.reporting.terminal import rendered
from purejaxppo.reporting.writing import (
    read_comparison,
    read_reports,
    write_comparison,
    write_report,
)

__all__ = [
    "cautions",
    "draw",
    "read_comparison",
    "read_reports",
    "rendered",
    "summaries",
    "write_brief",
    "write_comparison",
    "write_report",
]
