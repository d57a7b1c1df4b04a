"""ArenaHard's questions for lm-eval; judging and scoring are bai_sweep.scoring.arenahard."""

from concurrent.futures import Future
from typing import Any

from datasets import Dataset

from bai_sweep.scoring import Item, required_judge, submit, weighted_mean
from bai_sweep.scoring.arenahard import (
    V01,
    V2,
    Protocol,
    bootstrap_win_rate,
    bt_win_rate,
    documents,
    judge_contradiction,
    judge_disagreement,
    judge_kappa,
    null_verdicts,
    play,
    position_bias,
    position_bias_limit,
    style_controlled,
    win_rate_limit,
)

mean = weighted_mean
bt_win_rate_v01, bt_win_rate_v2 = bt_win_rate(V01), bt_win_rate(V2)
ci_low_v01, ci_high_v01 = win_rate_limit(V01, "low"), win_rate_limit(V01, "high")
ci_low_v2, ci_high_v2 = win_rate_limit(V2, "low"), win_rate_limit(V2, "high")
bootstrap_mean = bootstrap_win_rate
style_value, style_low, style_high = style_controlled("value"), style_controlled("low"), style_controlled("high")
equal_style = style_controlled("value", centred=False)
bias = position_bias
bias_low, bias_high = position_bias_limit("low"), position_bias_limit("high")
disagreement, contradiction, kappa, nulls = judge_disagreement, judge_contradiction, judge_kappa, null_verdicts

METRICS = (
    "win_rate",
    "bt_win_rate",
    "win_rate_ci_low",
    "win_rate_ci_high",
    "position_bias",
    "position_bias_ci_low",
    "position_bias_ci_high",
    "judge_disagreement",
    "judge_contradiction",
    "judge_kappa",
    "null_verdicts",
)
METRICS_V2 = (
    *METRICS,
    "bootstrap_win_rate",
    "style_controlled_win_rate",
    "style_controlled_ci_low",
    "style_controlled_ci_high",
    "equal_style_win_rate",
)


def dataset_v01(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: v0.1's 500 questions with the baseline's answers."""
    return _dataset("arenahard_v0.1", V01, "arena-hard-v0.1", metadata)


def dataset_hard_prompt(**metadata: Any) -> dict[str, Dataset]:
    """v2.0's 500 hard prompts."""
    return _dataset("arenahard_v2.0", V2, "hard_prompt", metadata)


def dataset_creative_writing(**metadata: Any) -> dict[str, Dataset]:
    """v2.0's 250 prompts for creative writing."""
    return _dataset("arenahard_v2.0", V2, "creative_writing", metadata)


def _dataset(benchmark: str, protocol: Protocol, category: str, metadata: dict[str, Any]) -> dict[str, Dataset]:
    from bai_sweep.evaluation.data import load

    files = load(benchmark, metadata.get("data_dir"))
    return {"test": Dataset.from_list(documents(files, protocol, category))}


def process_results_v01(doc: dict[str, Any], results: list[str]) -> dict[str, Future[Item]]:
    """The question's item under every metric, judged in the background: metrics differ in how they are aggregated."""
    return dict.fromkeys(METRICS, _judged(V01, doc, results[0]))


def process_results_v2(doc: dict[str, Any], results: list[str]) -> dict[str, Future[Item]]:
    """Likewise for v2.0."""
    return dict.fromkeys(METRICS_V2, _judged(V2, doc, results[0]))


def _judged(protocol: Protocol, doc: dict[str, Any], answer: str) -> Future[Item]:
    judge = required_judge("ArenaHard", "leave the benchmark out")
    return submit(
        play,
        judge,
        protocol,
        category=doc["category"],
        question=doc["prompt"],
        answer=answer,
        baseline=doc["baseline"],
    )
