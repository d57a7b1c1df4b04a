"""What a running trial is told: by hand-made telemetry and reports."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import Diagnosis, EvalReport, Score, StepTelemetry, TrialResult
from bai_sweep.search._monitor import TrialMonitor
from bai_sweep.search._sampler import make_pruner
from bai_sweep.signals import StopRequested, TrialPruned
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import diagnose
from tests.search_settings import search_settings
from tests.synthetic import trial, verdict

MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1, "n_warmup_steps": 0}
WILCOXON = {"_target_": "optuna.pruners.WilcoxonPruner", "p_threshold": 0.1, "n_startup_steps": 4}
STEP = {"metric": "objective/scores", "direction": "maximize", "window": 3}


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", ["rl.steps=60"]))


class Watched:
    """A monitor with its study."""

    def __init__(self, config: TrialConfig, *, stop: Sequence[bool] = (), **changes: Any) -> None:
        self.settings = search_settings(**changes)
        single = len(self.settings.objective) == 1
        self.study = optuna.create_study(directions=list(self.settings.direction))
        self.asked: list[bool] = list(stop)
        self.diagnosed = 0
        self.others: list[TrialResult] = []
        self._single, self._config = single, config
        self.begin()

    def begin(self) -> None:
        """The next trial."""
        self.trial = self.study.ask()

        def config() -> TrialConfig:
            self.diagnosed += 1
            return self._config

        self.monitor = TrialMonitor(
            self.study,
            self.trial._trial_id,
            settings=self.settings,
            pruner=make_pruner(self.settings.pruner) if self._single else None,
            config=config,
            others=lambda: self.others,
            stop_asked=lambda: bool(self.asked) and self.asked.pop(0),
        )

    @property
    def reported(self) -> dict[int, float]:
        return self.study.trials[-1].intermediate_values

    def run(self, telemetry: Sequence[StepTelemetry]) -> str | None:
        """Why it was pruned."""
        try:
            for end in range(1, len(telemetry) + 1):
                self.monitor.step(telemetry[:end])
        except TrialPruned as ended:
            return str(ended)
        return None


def _telemetry(
    lengths: Sequence[float] | None = None, scores: Sequence[float] | None = None, kl: float = 0.0
) -> list[StepTelemetry]:
    count = len(lengths or scores or ())
    return [
        StepTelemetry(
            step + 1,
            {
                "completions/mean_length": lengths[step] if lengths else 100.0,
                "objective/scores": scores[step] if scores else 0.0,
                "objective/kl": kl,
            },
        )
        for step in range(count)
    ]


def test_each_step_reports_its_trailing_mean(config: TrialConfig) -> None:
    watched = Watched(config, pruner=MEDIAN, report=STEP)
    assert watched.run(_telemetry(scores=[3.0, 6.0, 0.0, 9.0])) is None
    assert watched.reported == {1: 3.0, 2: 4.5, 3: 3.0, 4: 5.0}


@pytest.mark.parametrize("objective", ["maximize", "minimize"])
@pytest.mark.parametrize("report", ["maximize", "minimize"])
def test_reports_are_compared_in_their_own_direction(objective: str, report: str, config: TrialConfig) -> None:
    watched = Watched(config, pruner=MEDIAN, direction=objective, report={**STEP, "direction": report})
    good, bad = (2.0, 1.0) if report == "maximize" else (1.0, 2.0)
    assert watched.run(_telemetry(scores=[good] * 3)) is None
    sign = 1 if objective == report else -1
    assert watched.reported == {1: sign * good, 2: sign * good, 3: sign * good}
    watched.study.tell(watched.trial, 0.0)
    watched.begin()
    why = watched.run(_telemetry(scores=[bad] * 3))
    assert why == f"MedianPruner at step 1: objective/scores {bad:.4g} is behind other trials'"
    watched.begin()
    assert watched.run(_telemetry(scores=[good] * 3)) is None


def test_a_metric_that_is_not_there_is_not_reported(config: TrialConfig) -> None:
    watched = Watched(config, pruner=MEDIAN, report={**STEP, "metric": "objective/other"})
    assert watched.run(_telemetry(scores=[1.0, 2.0])) is None
    assert watched.reported == {}
    watched = Watched(config, pruner=MEDIAN, report=STEP)
    assert watched.run(_telemetry(scores=[math.nan, 1.0, 1.0, 1.0])) is None
    assert watched.reported == {4: 1.0}  # the first window without a hole


COLLAPSE = {
    "fast": [100.0] * 4 + [20.0] * 18,
    "slow": [100.0] * 6 + [100.0 - 8 * k for k in range(10)] + [20.0] * 10,
    "with a return": [100.0] * 5 + [20.0] * 14 + [100.0] * 10 + [20.0] * 5,
}
HEALTHY = {
    "flat": [100.0] * 30,
    "growing": [100.0 + 5 * k for k in range(30)],
    "noisy": [100.0 + 15 * (-1) ** k for k in range(30)],
    "a little shorter": [100.0] * 5 + [85.0] * 25,
}


@pytest.mark.parametrize("patience", [1, 3, 6])
@pytest.mark.parametrize("name", COLLAPSE)
def test_collapse_ends_a_trial_once_the_verdict_has_lasted(name: str, patience: int, config: TrialConfig) -> None:
    telemetry = _telemetry(COLLAPSE[name])
    certain = [
        diagnose(telemetry[:end], config.stability, steps=60).verdicts[0].level == "certain"
        for end in range(1, len(telemetry) + 1)
    ]
    ends = [end for end in range(patience, len(certain) + 1) if all(certain[end - patience : end])]
    watched = Watched(config, collapse={"detectors": ["length_collapse"], "patience": patience})
    why = watched.run(telemetry)
    if not ends:
        assert why is None
        return
    assert why is not None
    assert why.startswith(f"length_collapse is certain at step {ends[0]}, and was for {patience} steps: from 100 to")
    assert watched.diagnosed == 1  # the detectors' settings are composed once


def test_some_series_collapse_and_one_streak_is_broken(config: TrialConfig) -> None:
    def steps(name: str, patience: int) -> str | None:
        return Watched(config, collapse={"detectors": ["length_collapse"], "patience": patience}).run(
            _telemetry(COLLAPSE[name])
        )

    # The median of 5 steps has fallen at the third low one, and is certain when it has lasted for 10.
    assert "at step 16" in str(steps("fast", 1))
    assert "at step 20" in str(steps("fast", 5))
    assert "at step 17" in str(steps("with a return", 1))
    assert steps("with a return", 8) is None  # certain for 5 steps, then back


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_trials_go_on(name: str, config: TrialConfig) -> None:
    detectors = ["length_collapse", "kl_blow_up", "reward_hockey_stick"]
    watched = Watched(config, collapse={"detectors": detectors, "patience": 1})
    assert watched.run(_telemetry(HEALTHY[name], kl=1.0)) is None


def test_only_the_detectors_that_are_named_end_a_trial(config: TrialConfig) -> None:
    telemetry = _telemetry(COLLAPSE["fast"], kl=60.0)
    assert Watched(config).run(telemetry) is None
    why = Watched(config, collapse={"detectors": ["kl_blow_up"], "patience": 2}).run(telemetry)
    assert why == "kl_blow_up is certain at step 4, and was for 2 steps: largest median over 5 steps 60 nats"


def test_with_several_objectives_collapse_alone_ends_a_trial(config: TrialConfig) -> None:
    several: dict[str, Any] = {
        "objective": ["eval/overall", "objective/final_kl"],
        "direction": ["maximize", "minimize"],
    }
    watched = Watched(config, **several, collapse={"detectors": ["length_collapse"], "patience": 3})
    why = watched.run(_telemetry(COLLAPSE["fast"]))
    assert why is not None
    assert "length_collapse is certain" in why
    assert watched.reported == {}


def _report(*items: Sequence[float], missing: bool = False) -> EvalReport:
    scores = tuple(
        Score(f"b{index}", sum(points) / len(points), 1.0, len(points), "acc", items=tuple(points))
        for index, points in enumerate(items)
    )
    return EvalReport(scores, {"b9": "gone"} if missing else {})


def test_wilcoxon_compares_the_items_of_the_cheap_evaluation(config: TrialConfig) -> None:
    settings = {"pruner": WILCOXON, "screen": 8, "report": {**STEP, "metric": "eval/items"}}
    watched = Watched(config, **settings)
    watched.monitor.step(_telemetry(scores=[1.0]))
    watched.monitor.screened(_report([100.0, 90.0, 80.0, 100.0], [70.0, 100.0]))
    assert watched.reported == {0: 100.0, 1: 90.0, 2: 80.0, 3: 100.0, 4: 70.0, 5: 100.0}
    watched.study.tell(watched.trial, 90.0)
    watched.begin()
    with pytest.raises(TrialPruned, match=r"WilcoxonPruner after the cheap evaluation: eval/items .* is behind"):
        watched.monitor.screened(_report([0.0, 10.0, 0.0, 0.0], [10.0, 5.0]))
    watched.begin()
    watched.monitor.screened(_report([100.0, 90.0, 80.0, 100.0], [70.0, 90.0]))


@pytest.mark.parametrize(("metric", "values"), [("eval/overall", (60.0, 20.0)), ("eval/b1", (70.0, 30.0))])
def test_the_cheap_evaluation_may_be_compared_as_a_whole(
    metric: str, values: tuple[float, float], config: TrialConfig
) -> None:
    watched = Watched(config, pruner=MEDIAN, screen=2, report={**STEP, "metric": metric})
    watched.monitor.screened(_report([40.0, 60.0], [70.0, 70.0]))
    assert watched.reported == {1: values[0]}
    watched.study.tell(watched.trial, 1.0)
    watched.begin()
    with pytest.raises(TrialPruned, match=rf"MedianPruner after the cheap evaluation: {metric} {values[1]:.4g} is"):
        watched.monitor.screened(_report([0.0, 20.0], [30.0, 30.0]))


def test_a_cheap_evaluation_without_a_value_ends_nothing(config: TrialConfig) -> None:
    watched = Watched(config, pruner=MEDIAN, screen=2, report={**STEP, "metric": "eval/overall"})
    watched.monitor.screened(_report([40.0], missing=True))
    assert watched.reported == {}
    watched = Watched(config, pruner=MEDIAN, screen=2, report=STEP)  # PPO's steps are compared
    watched.monitor.screened(_report([40.0]))
    assert watched.reported == {}


def test_it_stops_at_every_safe_point_when_asked(config: TrialConfig) -> None:
    watched = Watched(config, stop=[False, True, True, True])
    watched.monitor.safe_point()
    for ask in (
        watched.monitor.safe_point,
        lambda: watched.monitor.step(_telemetry(scores=[1.0])),
        lambda: watched.monitor.screened(_report([1.0])),
    ):
        with pytest.raises(StopRequested):
            ask()
    assert issubclass(StopRequested, KeyboardInterrupt)  # nothing that catches Exception catches it


def _finished(number: int, *, collapsed: bool, pruned: str | None = None) -> TrialResult:
    """A trial that writes shorter from its second step on, if it will collapse."""
    noise = [math.sin(7.0 * number + step) for step in range(30)]
    lengths = [100.0 - (10.0 * min(step, 5) if collapsed else 0.0) + noise[step] for step in range(30)]
    verdicts = [verdict("length_collapse", "certain" if collapsed else "none")]
    return replace(trial(number, telemetry=_telemetry(lengths), verdicts=verdicts), pruned=pruned)


WARNING = {"warning": {"after": 5, "probability": 0.8, "skill": 0.3}}


def test_a_warning_ends_a_trial_that_begins_as_collapsed_ones_did(config: TrialConfig) -> None:
    watched = Watched(config, collapse=WARNING)
    watched.others = [_finished(n, collapsed=n % 2 == 0) for n in range(12)]
    why = watched.run(_finished(20, collapsed=True).telemetry)
    assert why is not None
    assert re.fullmatch(
        r"early warning at step 5: collapses with probability 0\.[89]\d "
        r"\(skill 0\.\d\d, AUC 1\.00 on 12 trials, 6 collapsed\)",
        why,
    )
    watched.begin()
    assert watched.run(_finished(21, collapsed=False).telemetry) is None


@pytest.mark.parametrize(
    "others",
    [
        [],
        [_finished(n, collapsed=n < 2) for n in range(12)],  # two collapsed trials teach nothing
        [_finished(n, collapsed=False, pruned="behind other trials") for n in range(6)]
        + [_finished(n, collapsed=True) for n in range(6, 12)],  # nobody knows what became of those
    ],
    ids=["none", "few collapsed", "unknown fates"],
)
def test_without_trials_to_learn_from_nobody_is_warned(others: list[TrialResult], config: TrialConfig) -> None:
    watched = Watched(config, collapse=WARNING)
    watched.others = others
    assert watched.run(_finished(20, collapsed=True).telemetry) is None


def test_a_warning_without_skill_ends_nothing(config: TrialConfig) -> None:
    """Whether these collapse is drawn, and their first steps are alike."""
    watched = Watched(config, collapse=WARNING)
    watched.others = [
        replace(
            _finished(n, collapsed=False),
            diagnosis=Diagnosis((verdict("length_collapse", "certain" if n in (0, 3, 4, 9, 10) else "none"),)),
        )
        for n in range(12)
    ]
    assert watched.run(_finished(3, collapsed=False).telemetry) is None


def test_pruning_goes_before_stopping(config: TrialConfig) -> None:
    watched = Watched(config, stop=[True], collapse={"detectors": ["kl_blow_up"], "patience": 1})
    with pytest.raises(TrialPruned, match="kl_blow_up"):
        watched.monitor.step(_telemetry(scores=[0.0] * 3, kl=60.0))


def test_a_worker_taken_for_dead_goes_on_in_peace(config: TrialConfig, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(config, pruner=MEDIAN, report=STEP)
    watched.study.tell(watched.trial, state=TrialState.FAIL)
    watched.monitor.step(_telemetry(scores=[1.0]))
    assert "others took this worker for dead" in caplog.text
