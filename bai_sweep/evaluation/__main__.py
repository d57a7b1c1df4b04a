"""`python -m bai_sweep.evaluation run model=... evaluation=paper evaluation.data_dir=...`."""

import sys

from bai_sweep.evaluation.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
