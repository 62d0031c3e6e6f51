"""The report: what was done and what came of it, as a page to look at and a file of figures."""

from densedpo.report.page import build_report
from densedpo.report.runs import newest_run
from densedpo.report.summary import summarise

__all__ = ["build_report", "newest_run", "summarise"]
