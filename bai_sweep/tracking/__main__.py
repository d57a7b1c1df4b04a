"""`python -m bai_sweep.tracking ui [--port 5000]` and `python -m bai_sweep.tracking sync <folder>`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError
from bai_sweep.sources import packaged_dir
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._store import is_server
from bai_sweep.tracking._sync import sync
from bai_sweep.tracking._ui import HOST, PORT, newest_study_url, ui_command


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code; a `UserError` is its message and code 2."""
    args = _parser().parse_args(arguments)
    try:
        if args.command == "ui":
            return _ui(args.uri, args.port, browser=not args.no_browser and sys.stdout.isatty() and _has_screen())
        return _sync(args.folder, args.uri)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bai_sweep.tracking", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ui = commands.add_parser("ui", help="serve MLflow's interface on the tracking store")
    ui.add_argument("--port", type=int, default=PORT)
    ui.add_argument("--uri", help="the store, if it is not the default configuration's")
    ui.add_argument("--no-browser", action="store_true", help="do not open the newest study, only print its address")
    again = commands.add_parser("sync", help="send what did not reach MLflow")
    again.add_argument("folder", type=Path, help="a trial's, a study's or the whole results folder")
    again.add_argument("--uri", help="the store, if not the one the journal names")
    return parser


def _ui(uri: str | None, port: int, *, browser: bool) -> int:
    values = OmegaConf.to_container(OmegaConf.load(packaged_dir("conf") / "tracking" / "mlflow.yaml"))
    config = TrackingConfig.model_validate(values)
    if uri:
        config = config.model_copy(update={"uri": uri})
    if is_server(config.uri):
        print(f"the store is a server already; open {newest_study_url(config) or mask_text(config.uri)}")
        return 0
    _require_free(port)
    command, study = ui_command(config, port), newest_study_url(config, port)
    print(f"MLflow on {mask_text(config.uri)}: http://{HOST}:{port} (Ctrl-C ends it)")
    print(f"the newest study: {study}" if study else "no study is there yet", flush=True)
    return _serve(command, port, study if browser else None)


def _has_screen() -> bool:
    """Without one, `webbrowser` would run a text browser in the server's terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} is not to be had ({error.strerror}); name another with --port") from None


def _serve(command: list[str], port: int, opened: str | None) -> int:
    """Runs the server in a session of its own and ends all of it with us, without its tracebacks on Ctrl-C.

    Args:
        command: the server's.
        port: where it will answer.
        opened: an address to open in the reader's browser once it does.
    """
    # Nobody gives this server evaluation jobs, for which it would otherwise start five more processes.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(command, env={**quiet, **os.environ}, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if opened:
        threading.Thread(target=_open_when_up, args=(opened, port), daemon=True).start()
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _open_when_up(address: str, port: int) -> None:
    """Opens the reader's browser once something answers at the port, which was free before the server was started."""
    for _ in range(120):
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            webbrowser.open(address)
            return
        time.sleep(0.5)


def _sync(folder: Path, uri: str | None) -> int:
    results = sync(folder, uri)
    for one in results:
        refused = f", {one.refused} refused" if one.refused else ""
        print(f"{one.folder}: " + (one.skipped or f"{one.sent} events sent to run {one.run_id}{refused}"))
    return 1 if any(one.refused or one.locked for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
