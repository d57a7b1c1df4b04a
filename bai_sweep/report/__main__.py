"""`python -m bai_sweep.report results/<study>`: rebuilds a study's report from its folder, also in mid-study."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bai_sweep.records import UserError
from bai_sweep.report import print_study
from bai_sweep.study import write_report


def main() -> None:
    """Writes report.html, report.md, figures/ and tables/ into the folder and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bai_sweep.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="results/<study>")
    parser.add_argument("overrides", nargs="*", help="selection.<key>=<value>: the same trials by another rule")
    arguments = parser.parse_args()
    try:
        study = write_report(arguments.folder, arguments.overrides)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print_study(study)


if __name__ == "__main__":
    main()
