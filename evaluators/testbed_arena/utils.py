"""The items of testbed_arena, the two games of each against the recorded baseline, and the pooled score."""

from typing import Any

from datasets import Dataset

from bai_sweep.testbed import arena_baseline, arena_items, battles


def dataset(**metadata: Any) -> dict[str, Dataset]:
    """lm-eval's `custom_dataset`: one test split. The task's metadata is passed and not needed."""
    baseline = arena_baseline()
    return {"test": Dataset.from_list([{**item, "baseline": baseline[item["id"]]} for item in arena_items()])}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """The item's share of battles won, and its battles won and fought for the pooled score."""
    won, fought = battles(doc, results[0], doc["baseline"])
    return {"win_rate": won / fought, "pooled_win_rate": (won, fought)}


def pooled(items: list[tuple[float, int]]) -> float:
    """All battles of all items in one pot, as ArenaHard scores: decisive verdicts weigh three times."""
    return sum(won for won, _ in items) / sum(fought for _, fought in items)
