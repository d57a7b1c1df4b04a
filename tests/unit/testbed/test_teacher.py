"""The teacher is exact, and its arithmetic agrees with Python's."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.testbed import extract_answer
from bai_sweep.testbed._arithmetic import Problem, draw_problem, slipped, solve
from bai_sweep.testbed._preferences import wrong_fact, wrong_problem
from bai_sweep.testbed._teacher import contrast, describe, explain, teach_fact, teach_problem
from bai_sweep.testbed._world import ATTRIBUTES, world

seeds = st.integers(0, 2**32 - 1)
styles = st.sampled_from(["instruct", "distilled"])
EQUATION = re.compile(r"([\d +-]+) = (\d+)\.")


def evaluate(chain: str) -> int:
    assert re.fullmatch(r"[\d +-]+", chain)
    return int(eval(chain))  # digits and signs only, checked above


def problem(seed: int, split: str = "train") -> Problem:
    return draw_problem(random.Random(seed), split)


@given(seeds)
def test_the_answer_is_what_python_says(seed: int) -> None:
    assert problem(seed).answer == evaluate(problem(seed).text)


@given(seeds, st.integers(1, 6))
def test_steps_are_true_and_end_in_the_answer(seed: int, group: int) -> None:
    steps, value = solve(problem(seed), group)
    equations = EQUATION.findall(steps)
    assert all(evaluate(left) == int(right) for left, right in equations)
    assert value == int(equations[-1][1]) == problem(seed).answer
    assert len(equations) == -(-len(problem(seed).operands) // group)


@given(seeds)
def test_partial_sums_stay_within_two_digits(seed: int) -> None:
    total = problem(seed).start
    for x in problem(seed).operands:
        total += x
        assert 0 <= total <= 99


@given(seeds, st.integers(1, 6))
def test_a_slip_makes_exactly_one_step_false(seed: int, group: int) -> None:
    steps, value = solve(problem(seed), group, slip=random.Random(seed))
    false = [left for left, right in EQUATION.findall(steps) if evaluate(left) != int(right)]
    assert len(false) == 1
    assert value != problem(seed).answer


@given(st.integers(0, 99), seeds)
def test_a_slipped_value_is_wrong_and_in_range(value: int, seed: int) -> None:
    assert slipped(value, random.Random(seed)) in set(range(100)) - {value}


@given(seeds, styles)
def test_taught_responses_are_right(seed: int, style: str) -> None:
    rng = random.Random(seed)
    assert extract_answer(teach_problem(problem(seed), style, rng)) == str(problem(seed).answer)
    fact = world().draw_fact(rng, popular=True, asked=True)
    assert extract_answer(teach_fact(fact, style, rng)) == fact.value


@given(seeds)
def test_the_last_two_passes_of_a_checked_thought_agree(seed: int) -> None:
    text = teach_problem(problem(seed), "distilled", random.Random(seed))
    passes = text.partition("</think>")[0].split("wait, let me check.")
    ends = [int(EQUATION.findall(p)[-1][1]) for p in passes]
    assert ends[-1] == problem(seed).answer
    assert len(ends) == 1 or ends[-2] == ends[-1]
    assert len(ends) <= 4


@given(seeds, styles)
def test_rejected_responses_are_wrong(seed: int, style: str) -> None:
    rng = random.Random(seed)
    assert extract_answer(wrong_problem(problem(seed), style, rng)) != str(problem(seed).answer)
    fact = world().draw_fact(rng, popular=True, asked=True)
    assert extract_answer(wrong_fact(fact, style, rng)) != fact.value


def test_long_thoughts_are_several_times_longer_than_brief_ones() -> None:
    rng = random.Random(0)
    problems = [draw_problem(rng) for _ in range(300)]
    words = {
        style: sum(len(teach_problem(p, style, rng).split()) for p in problems) for style in ("instruct", "distilled")
    }
    assert words["distilled"] > 2.5 * words["instruct"]


def test_descriptions_state_what_the_world_holds() -> None:
    one, other = world().entities[3], world().entities[200]
    text = describe(one, random.Random(0))
    assert all(f.clause in text for f in world().facts[one])
    assert contrast(one, other, random.Random(0)).count(f"but {other}") == 3


def test_an_explanation_tells_every_step() -> None:
    text = explain(Problem(49, (-7, 8)))
    assert text == "first 49 - 7 = 42. then 42 + 8 = 50. the answer is 50."


@pytest.mark.parametrize("share", [0.2])
def test_some_facts_are_never_asked(share: float) -> None:
    unasked = sum(not f.asked for f in world().all_facts) / len(world().all_facts)
    assert unasked == pytest.approx(share, abs=0.03)
    assert len(world().all_facts) == len(world().entities) * len(ATTRIBUTES)


def test_two_slips_that_agree_do_not_pass_for_the_truth() -> None:
    rng = random.Random(0)
    for _ in range(5000):
        chain = draw_problem(rng)
        assert extract_answer(teach_problem(chain, "distilled", rng)) == str(chain.answer)
        thought = teach_problem(chain, "distilled", rng).partition("</think>")[0]
        assert EQUATION.findall(thought)[-1][1] == str(chain.answer)
