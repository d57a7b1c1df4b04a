"""What of the host a run sees: the interpreter with its standard library, system libraries, numpy; all read-only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# Libraries that the interpreter and numpy link against, and where the loader finds them. No other file of /etc.
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
PACKAGES = "/packages"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

# The whole environment of a run. Hashes are not randomised, so that a program which iterates over a set of strings
# does the same in every run. One BLAS thread: the limit on threads would stop a pool as wide as the machine.
ENVIRONMENT = {
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Host:
    """Where things are.

    Args:
        executable: The interpreter itself, not a virtual environment's link to it.
        binds: Host path to path inside, folders and files.
        packages: Folder inside to import numpy from.
        own_packages: Folder of the host to import numpy from, for a run that sees the host's files.
    """

    executable: str
    binds: tuple[tuple[str, str], ...]
    packages: str
    own_packages: str

    def command(self, script: str, *arguments: object) -> list[str]:
        """Runs a script's source without site packages, bytecode files and the current folder on the path."""
        return [self.executable, "-s", "-S", "-P", "-B", "-c", script, *map(str, arguments)]


def this_host() -> Host:
    """The interpreter that runs this, found where it is installed.

    A prefix of `/usr` is bound whole. The checkout, a virtual environment and the rest of a home directory that holds
    the interpreter stay out.
    """
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    prefixes = {Path(prefix).resolve() for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    sources = sorted({*prefixes, *(Path(path) for path in _SYSTEM if Path(path).exists())})
    kept = [path for path in sources if path.is_symlink() or not any(up in sources for up in path.parents)]
    binds = [(str(path), str(path)) for path in kept]
    spec = find_spec("numpy")
    site = Path(next(iter(spec.submodule_search_locations or ()))).resolve().parent if spec else Path(PACKAGES)
    if any(site.is_relative_to(prefix) for prefix in prefixes):  # conda: numpy links to libraries of the prefix
        return Host(str(executable), tuple(binds), str(site), str(site))
    binds += [(str(site / name), f"{PACKAGES}/{name}") for name in ("numpy", "numpy.libs") if (site / name).is_dir()]
    return Host(str(executable), tuple(binds), PACKAGES, str(site))
