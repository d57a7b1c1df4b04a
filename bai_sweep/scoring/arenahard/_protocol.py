"""The two versions of the benchmark: baselines, judge's settings, reading of verdicts, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bai_sweep.scoring.arenahard._prompts import CREATIVE_WRITING
from bai_sweep.scoring.arenahard._verdicts import LABELS_V2, Reading, read_v01, read_v2


@dataclass(frozen=True)
class Protocol:
    """How one version is judged and scored.

    Args:
        version: As its authors number it.
        baselines: The model that each category is compared with.
        temperature: The judge's.
        max_tokens: The judge's longest answer.
        attempts: How often the judge is asked for one verdict: 2 means that it is told once to go on.
        read: Finds the verdict.
        needs_both: Whether a game without a verdict takes the question's other game out of the score with it.
        interval: Quantiles of the confidence interval.
        has_style: Whether the answers' style is kept for style control.
    """

    version: str
    baselines: Mapping[str, str]
    temperature: float
    max_tokens: int
    attempts: int
    read: Callable[[str], Reading]
    needs_both: bool
    interval: tuple[float, float]
    has_style: bool

    def battles(self, verdict: str, *, model_is: str) -> list[float]:
        """Share of each battle that the model won in a game, one entry a battle.

        Args:
            verdict: The game's.
            model_is: "A" or "B", its place in that game.
        """
        won, battles = LABELS_V2[verdict]
        return [won if model_is == "A" else 1.0 - won] * battles


V01 = Protocol(  # config/judge_config.yaml, gen_judgment.py and show_result.py before April 2025
    version="0.1",
    baselines={"arena-hard-v0.1": "gpt-4-0314"},
    temperature=0.0,
    max_tokens=4096,
    attempts=2,
    read=read_v01,
    needs_both=False,
    interval=(0.025, 0.975),
    has_style=False,
)
V2 = Protocol(  # config/arena-hard-v2.0.yaml, utils/judge_utils.py, gen_judgment.py and show_result.py
    version="2.0",
    baselines={"hard_prompt": "o3-mini-2025-01-31", CREATIVE_WRITING: "gemini-2.0-flash-001"},
    temperature=0.0,
    max_tokens=16000,
    attempts=1,
    read=read_v2,
    needs_both=True,
    interval=(0.05, 0.95),
    has_style=True,
)
