"""LiveBench's questions of a release, its tasks, and the mean of means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench import TASKS, aggregate, score, select


def test_tasks_count_alike_within_a_category_and_categories_alike() -> None:
    scores = {
        ("math", "AMPS_Hard"): [1.0, 0.0, 0.0, 0.0],  # 0.25
        ("math", "olympiad"): [0.75],  # math: 0.5
        ("language", "typos"): [1.0, 1.0],
        ("language", "connections"): [0.5, 0.0],
        ("language", "plot_unscrambling"): [0.25],  # language: 0.5
        ("coding", "LCB_generation"): [0.2],
    }
    assert aggregate(scores) == pytest.approx((0.5 + 0.5 + 0.2) / 3, abs=1e-12)


@given(st.dictionaries(st.sampled_from([(c, t) for c in TASKS for t in TASKS[c]]), st.integers(1, 5), min_size=1))
def test_equal_scores_are_their_own_mean(counts: dict[tuple[str, str], int]) -> None:
    assert aggregate({name: [0.3] * count for name, count in counts.items()}) == pytest.approx(0.3, abs=1e-12)


def test_what_is_no_task_or_has_no_items_has_no_mean() -> None:
    with pytest.raises(UserError, match="no task math/typos"):
        aggregate({("math", "typos"): [1.0]})
    with pytest.raises(UserError, match="language/typos has none"):
        aggregate({("language", "typos"): []})
    with pytest.raises(UserError, match="got none"):
        aggregate({})


def test_a_release_has_what_is_out_and_not_removed() -> None:
    rows = [
        {"id": 1, "livebench_release_date": "2024-06-24", "livebench_removal_date": ""},
        {"id": 2, "livebench_release_date": "2024-06-24", "livebench_removal_date": "2024-11-25"},
        {"id": 3, "livebench_release_date": "2024-11-25", "livebench_removal_date": "2025-04-02"},
        {"id": 4, "livebench_release_date": "2025-04-02", "livebench_removal_date": ""},
        {"id": 5, "livebench_release_date": "2024-08-31", "livebench_removal_date": None},
    ]
    assert [row["id"] for row in select(rows, "2024-11-25")] == [1, 3, 5]
    assert [row["id"] for row in select(rows, "2024-08-31")] == [1, 2, 5]


def test_there_are_eighteen_tasks_in_six_categories() -> None:
    assert len(TASKS) == 6
    assert sum(map(len, TASKS.values())) == 18


@pytest.mark.parametrize(("category", "task"), [("coding", "LCB_generation"), ("math", "typos"), ("art", "x")])
def test_a_task_that_is_not_scored_by_its_text_is_refused(category: str, task: str) -> None:
    with pytest.raises(UserError, match=f"got {category}/{task}"):
        score(category, task, {"ground_truth": ""}, "")


def test_instruction_following_is_scored_by_its_own_room() -> None:
    question = {"instruction_id_list": ["detectable_format:title"], "kwargs": [{}], "task": "simplify"}
    assert score("instruction_following", "simplify", question, "<<A title>>\nText.") == 1.0
    assert score("instruction_following", "simplify", question, "Text.") == 0.0
