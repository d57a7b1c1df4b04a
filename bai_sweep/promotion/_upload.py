"""Where a registered version's files are: the folder itself, or its copy on an MLflow server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.promotion._registry import Registry
from bai_sweep.tracking import ensure_experiment, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo

_PLACE = "promoted"


def stored(registry: Registry, folder: Path, run_id: str | None) -> tuple[str, str | None]:
    """The address of a folder for the registry, and the run that it belongs to.

    A database has the folder's own address: nothing is copied. A server takes no address on this machine, and its
    other users could not read it, so that the folder is uploaded to the trial's run, file by file; what is there
    already in its full size is not sent again.

    Args:
        registry: Says where.
        folder: Whole.
        run_id: The trial's run, if it is known to this store.

    Raises:
        RegistryError: The server cannot be reached, or refuses.
    """
    if not is_server(registry.tracking.uri):
        return folder.absolute().as_uri(), run_id
    with registry.client(f"take the files of {folder.name}") as client:
        run_id = run_id or _own_run(client, registry, folder)
        place = f"{_PLACE}/{folder.name}"
        sent = {file.path: file.file_size for file in _listed(client, run_id, place)}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            inside = path.relative_to(folder)
            if sent.get(f"{place}/{inside.as_posix()}") != path.stat().st_size:
                above = "" if inside.parent == Path() else f"/{inside.parent.as_posix()}"
                client.log_artifact(run_id, str(path), place + above)
        return f"{client.get_run(run_id).info.artifact_uri}/{place}", run_id


def _own_run(client: MlflowClient, registry: Registry, folder: Path) -> str:
    """A run for the files of a trial that was not tracked here."""
    experiment = ensure_experiment(client, registry.tracking.experiment, None)
    run = client.create_run(experiment, run_name=f"promoted {folder.name}", tags={"bai.kind": "promotion"})
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _listed(client: MlflowClient, run_id: str, place: str) -> list[FileInfo]:
    found = []
    for file in client.list_artifacts(run_id, place):
        found += _listed(client, run_id, file.path) if file.is_dir else [file]
    return found
