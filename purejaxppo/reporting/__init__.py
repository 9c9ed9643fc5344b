"""From studies to reports: tables, pictures, pages that open from the disk."""

from purejaxppo.reporting.report_files import (
    read_comparison,
    read_reports,
    write_comparison,
    write_report,
)
from purejaxppo.reporting.short_report import cautions, draw, summaries, write_brief
from purejaxppo.reporting.terminal import rendered

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
