"""How MLflow's interface shows a study at first sight: which columns, which charts, which runs, in which order.

The interface keeps this in the reader's browser, except for a view that somebody has shared: that one is a tag of the
experiment, and an address with `viewStateShareKey=` opens it. A study's view is such a tag, under its run's id. The
fields are those of MLflow 3's `ExperimentPageUIState` and `ExperimentPageSearchFacetsState`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from bai_sweep.tracking._parameters import flatten

VIEW_TAG = "mlflow.sharedViewState."
SCORES = ("eval/overall", "eval_stderr/overall")
OF_TRAINING = ("objective/final_kl", "stability/length_ratio", "stability/worst_severity")
CURVES = ("objective/scores", "completions/mean_length", "objective/kl")
_UNSCORED = "stability/length_ratio"  # what trials stand by that are not evaluated
_MOST_BENCHMARKS = 12  # columns and bar charts beyond this are chosen by the reader


def study_view(
    parent: str, params: Sequence[str], benchmarks: Sequence[str] = (), *, trained: bool = True
) -> dict[str, Any]:
    """The view of a study: its trials, best first, with the headline figures, and charts over the swept parameters.

    Args:
        parent: the id of the study's run.
        params: the swept parameters, as the trials' runs have them (`swept_columns`); the scatter is over the first.
        benchmarks: what the trials are scored on; without any, trials stand by the length of their responses.
        trained: whether they are trained at all; without RL there are no curves and no figures of training.
    """
    scores = [f"eval/{name}" for name in benchmarks][:_MOST_BENCHMARKS]
    headlines = (SCORES if benchmarks else ()) + (OF_TRAINING if trained else ())
    main = SCORES[0] if benchmarks else _UNSCORED if trained else None
    compared, dynamics = "bai-compare", "bai-dynamics"
    charts = _comparing(params, headlines, scores, main, compared)
    sections = [_section(compared, "Comparison")]
    if trained:
        charts += [_line(metric, dynamics) for metric in CURVES]
        sections.append(_section(dynamics, "Training, by PPO step"))
    return {
        "searchFilter": f"tags.mlflow.parentRunId = '{parent}'",
        "orderByKey": f"metrics.`{main}`" if main else "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": [
            *(f"params.`{name}`" for name in params),
            *(f"metrics.`{name}`" for name in (*headlines, *scores)),
            "tags.`verdict`",
        ],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "hideEmptyCharts": True,
    }


def swept_columns(keys: Iterable[str], config: BaseModel | Mapping[str, Any]) -> list[str]:
    """The parameters of a run in which swept keys are to be seen: a group's name, each weight of a simplex.

    Args:
        keys: as swept: `alpha`, `rl.kl_coef`, `weights`, `actor`, `actor/merge`.
        config: the study's; a key that it has no value for (of another choice of a group) is left out, as runs without
            one of its axes are missing from parallel coordinates.
    """
    known = flatten(config)
    found: list[str] = []
    for key in keys:
        dotted = key.replace("/", ".")
        named = [name for name in (dotted, f"{dotted}.name", f"{dotted}.method") if name in known]
        found += named[:1] or [name for name in known if name.startswith(f"{dotted}.")]
    return found


def encode_view(view: Mapping[str, Any]) -> str:
    """A view as the interface writes it: zlib and base64, which keep it within a tag's 5000 characters."""
    text = json.dumps(view, separators=(",", ":")).encode()
    return "deflate;" + base64.b64encode(zlib.compress(text, 9)).decode()


def _comparing(
    params: Sequence[str], headlines: Sequence[str], scores: Sequence[str], main: str | None, section: str
) -> list[dict[str, Any]]:
    parallel = {
        **_chart("PARALLEL", "parallel", section, "Swept parameters and headline figures"),
        "selectedParams": list(params),
        "selectedMetrics": [name for name in reversed(headlines) if name != SCORES[1]],
        "showAllRuns": True,
    }
    shown = [main] if main else []
    scatter = [_scatter(params[0], name, section) for name in shown if params]
    return [*scatter, parallel, *(_bar(metric, section) for metric in (*shown, *scores))]


def _scatter(param: str, metric: str, section: str) -> dict[str, Any]:
    return {
        **_chart("SCATTER", f"scatter-{metric}", section, f"{metric} against {param}"),
        "xaxis": {"key": param, "type": "PARAM"},
        "yaxis": {"key": metric, "type": "METRIC"},
    }


def _bar(metric: str, section: str) -> dict[str, Any]:
    return {**_chart("BAR", f"bar-{metric}", section, metric), "metricKey": metric}


def _line(metric: str, section: str) -> dict[str, Any]:
    shown = {"metricKey": metric, "selectedMetricKeys": [metric], "xAxisKey": "step", "useGlobalXaxisKey": True}
    return {**_chart("LINE", f"line-{metric}", section, metric), **shown}


def _chart(kind: str, name: str, section: str, title: str) -> dict[str, Any]:
    return {
        "uuid": f"bai-{name}",
        "type": kind,
        "runsCountToCompare": 200,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": title,
    }


def _section(identity: str, name: str) -> dict[str, Any]:
    return {
        "uuid": identity,
        "name": name,
        "display": True,
        "columns": 2,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }
