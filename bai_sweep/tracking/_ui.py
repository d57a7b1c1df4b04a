"""MLflow's interface on the store of a configuration: the command that opens it and the link to a comparison."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from urllib.parse import quote

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._store import absolute, artifact_root, import_mlflow, is_server, open_client
from bai_sweep.tracking._view import VIEW_TAG

HOST, PORT = "127.0.0.1", 5000
log = logging.getLogger(__name__)
# The interface's own link for a selection of runs; beyond this many the address grows too long for a terminal.
MOST_COMPARED = 40


def ui_command(config: TrackingConfig, port: int = PORT) -> list[str]:
    """The command that serves the interface at 127.0.0.1.

    Raises:
        UserError: there is no store of our own to serve.
    """
    if config.kind == "none":
        raise UserError("tracking=none keeps no MLflow store; run with tracking=mlflow")
    if is_server(config.uri):
        raise UserError(f"the store is a server already; open {_base(config)}")
    config = absolute(config)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", config.uri]
    if root := artifact_root(config):
        command += ["--default-artifact-root", root]
    return [*command, "--host", HOST, "--port", str(port), "--workers", "1"]


def study_url(config: TrackingConfig, parent: str, run_ids: Sequence[str], port: int = PORT) -> str:
    """The link to a study's own view (charts and table of its trials).

    Without a view it is that to one run, or to the comparison of several; for very many, to their experiment; without
    runs, and while the store is out of reach, to the list of experiments. No link has a password in it.
    The forms are those of MLflow's own interface (`getRunPageRoute`, `getCompareRunPageRoute`).
    """
    config = absolute(config)
    base, place = _base(config, port), _place(config.uri, parent)
    if place and place[1]:
        opened = f"viewStateShareKey={parent}&compareRunsMode=CHART&workflowType=machine_learning"
        return f"{base}/#/experiments/{place[0]}/runs?{opened}"
    return _runs_link(base, place[0] if place else None, run_ids)


def newest_study_url(config: TrackingConfig, port: int = PORT) -> str | None:
    """The link to the newest study of the store, of whichever experiment; None if there is none or no answer.

    Raises:
        UserError: the store can be none (`import_mlflow`).
    """
    config = absolute(config)
    try:
        import_mlflow(config.uri)
        client = open_client(config.uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        order = ["attributes.start_time DESC"]
        found = client.search_runs(experiments, "tags.`bai.kind` = 'study'", max_results=1, order_by=order)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - the interface is to be served all the same
        log.warning("the newest study was not found: %s", mask_text(str(error)))
        return None
    return study_url(config, found[0].info.run_id, [found[0].info.run_id], port) if found else None


def _base(config: TrackingConfig, port: int = PORT) -> str:
    """Where the interface is, without credentials: links go into reports and onto the terminal."""
    if not is_server(config.uri):
        return f"http://{HOST}:{port}"
    scheme, _, rest = config.uri.rstrip("/").partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def _runs_link(base: str, experiment: str | None, run_ids: Sequence[str]) -> str:
    if experiment is None or not run_ids:
        return f"{base}/#/experiments"
    if len(run_ids) == 1:
        return f"{base}/#/experiments/{experiment}/runs/{run_ids[0]}"
    if len(run_ids) > MOST_COMPARED:
        return f"{base}/#/experiments/{experiment}/runs?compareRunsMode=CHART"
    return f"{base}/#/compare-runs?runs={_query(list(run_ids))}&experiments={_query([experiment])}"


def _place(uri: str, run_id: str) -> tuple[str, bool] | None:
    """A run's experiment, and whether it has a view of this run's study; None while the store is out of reach."""
    try:
        import_mlflow(uri)
        client = open_client(uri)
        experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    except Exception as error:  # noqa: BLE001 - a link is not worth a study's end
        log.warning("no link to the runs' comparison: %s", mask_text(str(error)))
        return None
    return str(experiment.experiment_id), VIEW_TAG + run_id in experiment.tags


def _query(names: list[str]) -> str:
    return quote(json.dumps(names, separators=(",", ":")), safe=",")
