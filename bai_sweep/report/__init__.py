"""A study's results for people: a table in the terminal, report.html, figures, and tables for other programs.

`load_study` reads a study's folder at any time, also in mid-study; every writer takes the `StudyReport` it returns.
"""

from bai_sweep.report._comparison import comparison, records, write_tables
from bai_sweep.report._figures import write_figures
from bai_sweep.report._html import write_html
from bai_sweep.report._load import load_results, load_settings, load_study
from bai_sweep.report._markdown import markdown
from bai_sweep.report._paper import paradigms_table, ratio_table
from bai_sweep.report._studies import Comparison, Side, best_table, compared, paired, paired_table, settings_table
from bai_sweep.report._studies_page import write_comparison
from bai_sweep.report._study import StudyReport, TrialSetting
from bai_sweep.report._table import Table
from bai_sweep.report._terminal import print_study, rich_table
from bai_sweep.report._write import write_text

__all__ = [
    "Comparison",
    "Side",
    "StudyReport",
    "Table",
    "TrialSetting",
    "best_table",
    "compared",
    "comparison",
    "load_results",
    "load_settings",
    "load_study",
    "markdown",
    "paired",
    "paired_table",
    "paradigms_table",
    "print_study",
    "ratio_table",
    "records",
    "rich_table",
    "settings_table",
    "write_comparison",
    "write_figures",
    "write_html",
    "write_tables",
    "write_text",
]
