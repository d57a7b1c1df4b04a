"""What is done to a study from outside: `python -m bai_sweep status | report | promote | stop | ...`.

Arguments are `key=value`, as everywhere. A study is named by `study=` and found in `results_dir=`, or in the
database of `storage=`; without a name it is the one that was begun last.
"""

from bai_sweep.command._main import run_command

__all__ = ["run_command"]
