"""`python -m bai_sweep.testbed build|measure`."""

from __future__ import annotations

import argparse
from pathlib import Path


def quieten() -> None:
    """Turns off the bars of the libraries, which would write over ours."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def main() -> None:
    """Rebuilds the family, or prints what it can do as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bai_sweep.testbed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="train the whole family from a seed")
    build.add_argument("--out", type=Path, help="folder of the family (default: the shipped weights)")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--scale", type=float, default=1.0, help="multiplies every number of steps")
    build.add_argument("--threads", type=int, default=1, help="of torch; another number rounds sums another way")
    measure = commands.add_parser("measure", help="print the held-out accuracies as a Markdown table")
    measure.add_argument("--weights", type=Path, help="folder of the family (default: the shipped weights)")
    measure.add_argument("--items", type=int, default=200, help="held-out items for each column")
    args = parser.parse_args()
    quieten()
    if args.command == "build":
        import torch

        from bai_sweep.testbed._build import build as run_build

        torch.set_num_threads(args.threads)
        print(run_build(args.out, args.seed, args.scale))
    else:
        from bai_sweep.testbed._measure import measure as run_measure
        from bai_sweep.testbed._weights import weights_dir

        print(run_measure(args.weights or weights_dir(), args.items))


if __name__ == "__main__":
    main()
