"""The command that merges models: `python -m bai_sweep.merge base=... sft.instruct=... alpha=0.5 out=...`."""

import sys

if __name__ == "__main__":
    try:
        from bai_sweep.merging.command import main
    except KeyboardInterrupt:  # the imports take longer than it takes to see a typing error
        sys.exit(130)
    sys.exit(main(sys.argv[1:]))
