"""Style of answers and style control, against hand computation, SciPy and simulated effects."""

import numpy as np
import pytest
from scipy.optimize import minimize

from bai_sweep.scoring.arenahard import (
    Style,
    approximate_tokens,
    controlled_win_rates,
    standardised,
    style_difference,
    style_of,
)
from bai_sweep.scoring.arenahard import _tokens as tokens
from bai_sweep.scoring.arenahard._tokens import Counter

WORDS = Counter("words", lambda text: len(text.split()))

ANSWER = """# Title
## Part
###### Six
####### Seven
#hashtag
Text with **bold** and __also__, not ** split
over lines **.
1. one
  2. two
- three
+ four
```
# a comment
- not an item
```
a `# b`
"""


def test_markdown_is_counted_outside_code() -> None:
    style = style_of(ANSWER, WORDS)
    assert style == Style(tokens=len(ANSWER.split()), headers=3, lists=4, bolds=2)


def test_what_stands_in_a_block_is_taken_out_everywhere() -> None:
    assert style_of("```# ```\n# Title", WORDS).headers == 0  # as official code has it
    assert style_of("# Title", WORDS).headers == 1


def test_difference_of_style_by_hand() -> None:
    difference = style_difference(Style(99, 10, 0, 5), Style(49, 0, 5, 0))
    assert difference == pytest.approx((50 / 148, 0.1 / 1.1, -0.1 / 1.1, 0.05 / 1.05))
    assert style_difference(Style(0, 0, 0, 0), Style(0, 0, 0, 0)) == (0.0, 0.0, 0.0, 0.0)


def test_standardising() -> None:
    columns = np.array([[1.0, 7.0], [2.0, 7.0], [6.0, 7.0]])
    np.testing.assert_allclose(standardised(columns)[:, 0], np.array([-2.0, -1.0, 3.0]) / np.sqrt(7.0))
    np.testing.assert_allclose(standardised(columns, centred=False)[:, 0], np.array([1.0, 2.0, 6.0]) / np.sqrt(7.0))
    np.testing.assert_array_equal(standardised(columns)[:, 1], 0.0)  # says nothing, official code stops at it
    np.testing.assert_array_equal(standardised(columns[:1]), 0.0)


def simulated(n: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Two models as good as the baseline at its style; one writes longer, and length wins."""
    generator = np.random.default_rng(5)
    models = ["long", "short"] * (n // 2)
    length = generator.normal([0.4, -0.4] * (n // 2), 0.2)
    chance = 1.0 / (1.0 + np.exp(-3.0 * length))
    return models, (generator.random(n) < chance).astype(np.float64), length[:, None]


def test_control_takes_the_effect_of_length_off() -> None:
    models, won, length = simulated(4000)
    raw = {name: won[np.array(models) == name].mean() for name in ("long", "short")}
    assert raw["long"] > 0.7
    assert raw["short"] < 0.3
    controlled = controlled_win_rates(models, won, standardised(length))
    for name in ("long", "short"):
        assert controlled[name].low < 0.5 < controlled[name].high
        assert controlled[name].value == pytest.approx(0.5, abs=0.06)


def test_of_one_model_only_equal_style_controls() -> None:
    models, won, length = simulated(4000)
    longer = np.array(models) == "long"
    centred, equal = (
        controlled_win_rates(["long"] * 2000, won[longer], standardised(length[longer], centred=centred))["long"]
        for centred in (True, False)
    )
    assert centred.value > 0.7  # at its own mean style
    assert equal.value == pytest.approx(0.5, abs=0.06)  # at the baseline's


def test_a_fit_is_that_of_a_general_minimiser() -> None:
    models, won, length = simulated(300)
    features = standardised(length)
    rows = np.random.RandomState(42).randint(0, 300, size=(1, 300))[0]  # the first draw
    design = np.column_stack([[m == "long" for m in models], [m == "short" for m in models], features])[rows]

    def loss(coefficients: np.ndarray) -> float:
        logits = design @ coefficients
        return float(np.logaddexp(0.0, logits).sum() - won[rows] @ logits)

    reference = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-7}).x
    found = controlled_win_rates(models, won, features, rounds=1)
    for name, strength in zip(("long", "short"), reference, strict=False):
        assert found[name].value == pytest.approx(1.0 / (1.0 + np.exp(-strength)), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("one two", 2),
        ("internationalisation", 2),
        ("12345", 2),
        ("a, b", 3),
        ("=" * 8, 2),
        ("Привет", 3),
        ("\n\n", 1),
    ],
)
def test_approximate_tokens(text: str, count: int) -> None:
    assert approximate_tokens(text) == count


def test_without_tiktoken_lengths_are_approximate(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(tokens.importlib, "import_module", absent)
    counter = tokens.token_counter.__wrapped__()
    assert counter.name == "approximate"
    assert counter.count("one two") == 2


def test_with_tiktoken_lengths_are_gpt_4os(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tiktoken:
        @staticmethod
        def encoding_for_model(model: str) -> "Tiktoken":
            assert model == "gpt-4o"
            return Tiktoken()

        @staticmethod
        def encode(text: str, disallowed_special: tuple[str, ...]) -> list[int]:
            assert disallowed_special == ()
            return [len(text)] * 7

    monkeypatch.setattr(tokens.importlib, "import_module", {"tiktoken": Tiktoken}.__getitem__)
    counter = tokens.token_counter.__wrapped__()
    assert (counter.name, counter.count("one two")) == ("o200k_base", 7)
