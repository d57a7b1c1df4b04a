"""Programs that attack the host, at every level that isolates; some at the level that does not, where they succeed."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bai_sweep.sandbox import Limits, Outcome, Sandbox

SHORT = Limits(seconds=4.0, cpu_seconds=4.0)

READ_SECRETS = """
import json, os
def read(path):
    try:
        return open(path, "rb").read().decode(errors="replace")
    except OSError:
        return ""
texts = [str(dict(os.environ))] + [read(path) for path in PATHS]
for pid in filter(str.isdigit, os.listdir("/proc")):
    texts += [read(f"/proc/{pid}/environ"), read(f"/proc/{pid}/cmdline")]
    texts += [read(f"/proc/{pid}/root{path}") for path in PATHS]
print(json.dumps(texts))
"""

CONNECT = """
import socket
for family, address in ADDRESSES:
    try:
        socket.socket(family, socket.SOCK_STREAM).connect(address)
        print("connected")
    except OSError as error:
        print(type(error).__name__)
"""


def found(outcome: Outcome) -> object:
    assert outcome.status == "ok", outcome.stderr.decode()
    return json.loads(outcome.stdout)


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A word that stands in a file of the home directory, one of /tmp and this process's environment."""
    word = "s3cret-of-the-host"
    monkeypatch.setenv("BAI_SWEEP_TEST_SECRET", word)
    (tmp_path / "key").write_text(word)
    with tempfile.NamedTemporaryFile("w", dir=Path.home(), prefix=".bai-sweep-test-") as file:
        file.write(word)
        file.flush()
        yield word, [file.name, str(tmp_path / "key"), f"/proc/{os.getpid()}/environ"]


def test_hostile_secrets_stay_unread(strong: Sandbox, secret: tuple[str, list[str]]) -> None:
    word, paths = secret
    outcome = strong.run(READ_SECRETS.replace("PATHS", repr(paths)))
    assert found(outcome)
    assert word not in outcome.stdout.decode()


def test_hostile_secrets_are_read_without_isolation(weak: Sandbox, secret: tuple[str, list[str]]) -> None:
    word, paths = secret
    outcome = weak.run(READ_SECRETS.replace("PATHS", repr(paths[:2])), limits=Limits(output_bytes=1 << 28))
    assert word in outcome.stdout.decode()


def test_hostile_environment_of_the_parent_is_not_inherited_at_any_level(
    sandbox: Sandbox, secret: tuple[str, list[str]]
) -> None:
    outcome = sandbox.run("import os; print(dict(os.environ))")
    assert b"HOME" in outcome.stdout
    assert secret[0] not in outcome.stdout.decode()


def test_hostile_program_sees_neither_the_checkout_nor_home_directories(strong: Sandbox) -> None:
    inside = json.dumps([str(Path(__file__).resolve()), "/etc/passwd", "/etc/shadow", "/var", "/home", "/sys", "/run"])
    outcome = strong.run(f"import os, json; print(json.dumps([p for p in {inside} if os.path.exists(p)]))")
    assert found(outcome) == []


def _listeners() -> tuple[list[socket.socket], list[tuple[int, object]]]:
    loopback = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    abstract.bind(f"\0bai-sweep-test-{os.getpid()}")
    abstract.listen()
    for listener in (loopback, abstract):
        listener.settimeout(0.2)
    return [loopback, abstract], [(int(s.family), s.getsockname()) for s in (loopback, abstract)]


def test_hostile_connections_reach_no_server_of_the_host(strong: Sandbox) -> None:
    listeners, addresses = _listeners()
    outcome = strong.run(CONNECT.replace("ADDRESSES", repr(addresses)))
    assert outcome.stdout.count(b"Error") == 2, outcome
    for listener in listeners:
        with listener, pytest.raises(TimeoutError, match="timed out"):
            listener.accept()


def test_hostile_connections_are_made_without_isolation(weak: Sandbox) -> None:
    listeners, addresses = _listeners()
    assert weak.run(CONNECT.replace("ADDRESSES", repr(addresses))).stdout.count(b"connected") == 2
    for listener in listeners:
        with listener:
            listener.accept()[0].close()


@pytest.mark.parametrize("family", [16, 17, 38, 40], ids=["netlink", "packet", "alg", "vsock"])
def test_hostile_sockets_of_other_families_are_refused(strong: Sandbox, family: int) -> None:
    outcome = strong.run(f"import socket; socket.socket({family}, socket.SOCK_RAW)")
    assert b"OSError: [Errno 97]" in outcome.stderr


def test_hostile_signals_reach_nobody_outside(strong: Sandbox) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        outcome = strong.run(
            "import os, signal\n"
            f"for pid in ({os.getpid()}, {os.getppid()}, -1):\n"
            "    try:\n        os.kill(pid, signal.SIGUSR1)\n        print('sent')\n"
            "    except OSError as error:\n        print(type(error).__name__)\n"
        )
        own = strong.run("import os; os.kill(1, 9); print('lives')")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert outcome.stdout.split() == [b"ProcessLookupError"] * 3
    assert own.stdout == b"lives\n"  # the first process of a namespace gets no signals from inside
    assert received == []


def test_hostile_program_opens_no_memory_and_traces_nobody(strong: Sandbox) -> None:
    outcome = strong.run(
        "import ctypes, json, os\n"
        f"host = {os.getpid()}\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def opens(path):\n"
        "    try:\n        return bool(os.open(path, os.O_RDWR))\n"
        "    except OSError:\n        return False\n"
        "traced = [libc.ptrace(16, pid, 0, 0) for pid in (host, 1)] + [libc.ptrace(0, 0, 0, 0)]\n"
        "print(json.dumps([traced, opens(f'/proc/{host}/mem'), opens('/proc/1/mem')]))\n"
    )
    assert found(outcome) == [[-1, -1, -1], False, False]


def test_hostile_program_is_nobody_without_capabilities(strong: Sandbox) -> None:
    outcome = strong.run("print(open('/proc/self/status').read())")
    status = dict(line.split(":\t") for line in outcome.stdout.decode().splitlines() if ":\t" in line)
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize(
    "call",
    [
        "libc.unshare(0x10000000)",
        "libc.unshare(0x20000)",
        "libc.syscall(CLONE, 0x10000000 | 17, 0, 0, 0, 0)",
        "libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0)",
        "libc.memfd_create(b'x', 0)",
        "libc.shmget(0, 1 << 20, 0o1600)",
        "libc.syscall(425, 8, 0)",
    ],
)
def test_hostile_calls_around_the_limits_are_refused(strong: Sandbox, call: str) -> None:
    number = {"x86_64": "56", "aarch64": "220"}[os.uname().machine]
    outcome = strong.run(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print({call.replace('CLONE', number)}, ctypes.get_errno())"
    )
    assert outcome.stdout == b"-1 1\n"  # EPERM


def test_hostile_writes_end_at_the_scratch_folder(strong: Sandbox, tmp_path: Path) -> None:
    folders = ["/", "/dev", "/etc", "/usr/lib", "/packages", str(Path(os.__file__).parent), str(tmp_path), "/proc"]
    outcome = strong.run(
        "import json, os\nwritten = []\n"
        f"for folder in {[*folders, '/tmp', '/dev/shm']!r}:\n"
        "    try:\n        open(folder + '/made', 'w').write('x')\n        written.append(folder)\n"
        "    except OSError:\n        pass\n"
        "print(json.dumps(written))"
    )
    assert found(outcome) == ["/tmp", "/dev/shm"]
    assert list(tmp_path.iterdir()) == []
    assert not Path("/tmp/made").exists()


def test_hostile_mounts_are_read_only_but_for_scratch(strong: Sandbox) -> None:
    """The user's rights do not decide: a run of a user who is not root owns what it sees."""
    lines = [
        line.split() for line in strong.run("print(open('/proc/self/mountinfo').read())").stdout.decode().splitlines()
    ]
    options = {line[4]: line[5].split(",") for line in lines if line}
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")}
    assert {place for place, flags in options.items() if "rw" in flags} <= {"/tmp", "/proc"} | devices
    assert "ro" in options["/"]
    assert all("nosuid" in flags for place, flags in options.items() if place not in devices)


def test_hostile_files_are_bounded_together_and_each(strong: Sandbox) -> None:
    program = (
        "import json\ntotal, count = 0, 0\n"
        "try:\n    while True:\n        open(f'/tmp/{count}', 'wb').write(bytes(SIZE))\n"
        "        total += SIZE\n        count += 1\n"
        "except OSError as error:\n    print(json.dumps([total, error.errno]))"
    )
    limits = Limits(scratch_bytes=8 << 20)
    assert found(strong.run(program.replace("SIZE", str(1 << 20)), limits=limits)) in ([7 << 20, 28], [8 << 20, 28])
    assert found(strong.run(program.replace("SIZE", str(9 << 20)), limits=limits)) == [0, 27]  # EFBIG


def test_hostile_report_cannot_be_forged(strong: Sandbox) -> None:
    outcome = strong.run(
        "import os, sys\n"
        "for fd in range(3, 64):\n    try:\n        os.write(fd, b'exit 0\\n')\n    except OSError:\n        pass\n"
        "try:\n    print(os.listdir('/proc/1/fd'))\nexcept OSError as error:\n    print(type(error).__name__)\n"
        "sys.exit(3)"
    )
    assert (outcome.status, outcome.exit_code) == ("failed", 3)
    assert outcome.stdout == b"PermissionError\n"
