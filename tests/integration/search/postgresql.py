"""A PostgreSQL server of a test's own, from the machine's packages: started in a folder, stopped at the end."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import final


def programs() -> Path | None:
    """Where `initdb` and its like are; Debian keeps them out of the path."""
    found = shutil.which("pg_ctl")
    folders = [*([Path(found).resolve().parent] if found else []), *Path("/usr/lib/postgresql").glob("*/bin")]
    whole = [f for f in folders if all((f / name).is_file() for name in ("initdb", "pg_ctl", "createdb"))]
    return max(whole, default=None)


@final
class Server:
    """A server with one database, `studies`, on a free port of the loopback interface.

    It does not run as root, so its files are in a temporary folder of their own: pytest's are their owner's alone.
    """

    def __init__(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None, "no PostgreSQL on this machine"
        folder = Path(tempfile.mkdtemp(prefix="bai-postgresql-"))
        self._bin, self._data, self._socket = bin_folder, folder / "data", folder
        self._user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        if os.geteuid() == 0:
            owner = pwd.getpwnam(self._user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", self._user, "--no-sync", "-E", "UTF8")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", self._user, "studies")

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{self._user}@127.0.0.1:{self.port}/studies"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._socket} -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._data / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stops it, by default as a crash would."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def close(self) -> None:
        """Stops it if it runs, and removes its files."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._socket)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        user = {"user": self._user} if os.geteuid() == 0 else {}
        # Not capture_output: the server keeps pg_ctl's pipes open.
        with (self._socket / "output").open("w+") as output:
            done = subprocess.run(
                command, stdout=output, stderr=output, cwd=self._socket, timeout=120, check=False, **user
            )  # type: ignore[call-overload]
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read()}"
