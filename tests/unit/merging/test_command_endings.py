"""Signals and standard streams of `python -m bai_sweep.merge`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bai_sweep.merging.command._signals import Stopped, stopping


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_second_signal_does_not_disturb_what_the_first_has_begun(number: signal.Signals, code: int) -> None:
    tidied = []
    with stopping():
        with pytest.raises(Stopped) as caught:
            os.kill(os.getpid(), number)
        for second in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), second)
            tidied.append(second)

    assert caught.value.code == code
    assert len(tidied) == 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_file_never_has_the_number_of_a_stream_that_was_closed() -> None:
    code = (
        "import os, sys; from bai_sweep.merging.command._streams import prepare; prepare();"
        "sys.exit(os.open('/dev/null', os.O_RDONLY))"
    )
    script = f'exec "$0" -c "{code}" <&- >&- 2>&-'

    assert subprocess.run(["bash", "-c", script, sys.executable], check=False).returncode == 3
