"""Rules of selection that cannot hold are refused with the key, before a study begins."""

from __future__ import annotations

import pytest

from bai_sweep.config import ConfigError
from tests.unit.config.test_config import parsed


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (
            "selection.objective='mmlu + 1'",
            r"selection\.objective: mmlu is no quantity of a trial; known are",
        ),
        (
            "selection.objective={mmlu: 1}",
            r"selection\.objective\.mmlu: no such benchmark; evaluation\.benchmarks",
        ),
        ('selection.objective="1 +"', "not an arithmetic expression"),
        ("selection.objective={arithmetic: 0}", "one at least above 0"),
        ("+selection.floors.mmlu.min=3", r"selection\.floors\.mmlu: no such benchmark"),
        ("+selection.floors.arithmetic={slack: 3}", "either min or reference"),
        ("+selection.floors.arithmetic={min: 3, slack: 3}", "slack goes with a reference"),
        ("+selection.floors.arithmetic={reference: {}}", "named by swept values"),
        (
            "selection.certain_bars=[lenght_collapse]",
            r"selection\.certain_bars: no detector lenght_collapse",
        ),
        ("selection.tie_probability=0.7", "less than or equal to 0.5"),
        ("selection.min_seeds=0", "greater than or equal to 1"),
    ],
)
def test_refused(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parsed(override)


@pytest.mark.parametrize(
    "override",
    [
        "selection.objective='arithmetic - 0.5 * final_kl + 10 * length_ratio'",
        "selection.objective='eval/arithmetic - stability/length_collapse/severity'",
        "selection.objective={arithmetic: 2, arena: 1}",
        "+selection.floors.arithmetic={reference: {actor: paradigm1}, slack: 1}",
        "selection.suspected_bars=[kl_blow_up]",
        "selection.suspected_bars=all",
    ],
)
def test_accepted(override: str) -> None:
    assert parsed(override).selection.name == "default"
