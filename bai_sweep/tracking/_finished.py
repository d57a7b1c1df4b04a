"""The finished trials of a study, read back from MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._store import absolute, open_client

_PAGE = 500


def finished_trials(config: TrackingConfig, run_id: str) -> Iterator[tuple[Mapping[str, str], Mapping[str, float]]]:
    """Parameters (as text, by dotted key) and last metrics of each finished child of a study's run.

    Raises:
        UserError: MLflow is out of reach, or has no such run.
    """
    try:
        client = open_client(absolute(config).uri)
        experiment = client.get_run(run_id).info.experiment_id
        token: Any = None
        while True:
            page = client.search_runs(
                [experiment],
                f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'FINISHED'",
                max_results=_PAGE,
                page_token=token,
            )
            yield from ((run.data.params, run.data.metrics) for run in page)
            token = page.token
            if not token:
                return
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"MLflow at {mask_text(config.uri)} has no study of run {run_id} that can be read: {mask_text(str(error))}"
        ) from error
