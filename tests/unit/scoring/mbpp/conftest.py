"""A sandbox that isolates, and a task written for these tests."""

from __future__ import annotations

import pytest

from bai_sweep.records import UserError
from bai_sweep.sandbox import Sandbox, open_sandbox
from bai_sweep.scoring.mbpp import Task


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """Candidates of these tests are ours: without isolation on the host, the weak level runs them."""
    try:
        return open_sandbox()
    except UserError:
        return open_sandbox("process")


@pytest.fixture
def square() -> Task:
    """Doubles numbers past ten on plus inputs, so that base tests alone cannot tell."""
    return Task(
        task_id="Mbpp/9001",
        prompt='"""\nWrite a function to square numbers up to ten and to double others.\n"""',
        entry_point="square",
        canonical_solution="\ndef square(x):\n    return x * x if x <= 10 else 2 * x\n",
        base_input="[[2], [3]]",
        plus_input="[[10], [11], [-4]]",
        atol=0.0,
    )
