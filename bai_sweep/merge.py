"""The command that merges models: `python -m bai_sweep.merge base=... sft.instruct=... alpha=0.5 out=...`."""

import gc
import os
import sys

if __name__ == "__main__":
    gc.disable()  # a process of seconds leaves few cycles; to look for them costs a tenth of its imports
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy starts threads otherwise that spin and are never used
    try:
        from bai_sweep.merging.command import main

        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # the imports take longer than it takes to see a typing error
        sys.exit(130)
    gc.freeze()  # nor are cycles looked for on the way out: a tenth of a second where a figure was drawn
    sys.exit(code)
