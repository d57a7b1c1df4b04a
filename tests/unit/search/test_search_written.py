"""What a trial's `.hydra` folder says is what Hydra's own would: OmegaConf reads the same from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import _save_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from bai_sweep.search._written import save_composed

# Words that YAML 1.1, YAML 1.2, libyaml or OmegaConf take for something else.
NUMBERS = """
1e-3 1E5 1e+3 -1e3 +1e3 1.e3 1.5e3 1_000 1_0e1_0 1_0.5 0_1 08 07 010 0o7 0x1F 0b1 .5 -.5 +.5 5. ._5 1__0 1._5 .5e3
0.1 -0.1 -0 +0 1 -1 +1 nan NaN .nan .NaN NAN inf .inf -.inf +.inf Inf infinity -Infinity
2024-01-01 2024-1-1 2001-12-14t21:59:43.10-05:00 12:30 12:30:45 1:2 190:20:30.15
"""
WORDS = r"""
. .. - -- --- ... ~ null Null NULL None none nil yes Yes y n no on off true True TRUE tru false << = ? : , [ ] { } # !
& * | > @ ` % ' " \ ${alpha} ${oc.env:HOME,x} ??? !!str a:b a#b ä 日本語 🙂
"""
SPACED = [
    " ",
    " a",
    "a ",
    "a: b",
    "a #b",
    "- a",
    "? a",
    "'a",
    '"a"',
    "a\nb",
    "a\n\nb\n",
    "\n",
    "\ta",
    "a\tb",
    "two  x",
]
NASTY = [*NUMBERS.split(), *WORDS.split(), *SPACED, "", "\u2028", "\u00a0", "\x07", "\r\n", "1e-3\n", " 1e-3", "1e 3"]
NASTY += ["x" * 500, "a b " * 60]


def _config(value: Any) -> DictConfig:
    return OmegaConf.create({"a": value, "hydra": {"overrides": {"task": [f"a={value}"]}, "b": value}})


def _assert_same(config: DictConfig, folder: Path) -> None:
    save_composed(config, folder / "ours")
    whole = {key: value for key, value in config.items_ex(resolve=False) if key != "hydra"}
    _save_config(OmegaConf.create(whole), "config.yaml", folder / "theirs")
    _save_config(OmegaConf.create({"hydra": config.hydra}), "hydra.yaml", folder / "theirs")
    _save_config(config.hydra.overrides.task, "overrides.yaml", folder / "theirs")
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        ours, theirs = (
            OmegaConf.to_container(OmegaConf.load(folder / who / name), resolve=False) for who in ("ours", "theirs")
        )
        assert _typed(ours) == _typed(theirs)


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return [(_typed(key), _typed(item)) for key, item in value.items()]
    return [_typed(item) for item in value] if isinstance(value, list) else (type(value).__name__, repr(value))


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_nasty_words_stay_words(text: str, tmp_path: Path) -> None:
    _assert_same(_config(text), tmp_path)
    read = OmegaConf.to_container(OmegaConf.load(tmp_path / "ours/config.yaml"), resolve=False)
    assert read == {"a": text}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text("019eE+-._:xX aäyn~\n#'\"\\,[]{}", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("01eE.-_aäy ~", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_any_value_is_read_as_from_hydras_own_files(value: Any, tmp_path: Path) -> None:
    _assert_same(_config({"k": value}), tmp_path)


def test_a_character_that_hydra_loses_is_kept(tmp_path: Path) -> None:
    save_composed(_config("a\x85b"), tmp_path)
    assert OmegaConf.load(tmp_path / "config.yaml") == {"a": "a\x85b"}


def test_files_are_hydras_and_keep_the_order(tmp_path: Path) -> None:
    hydra = {"overrides": {"task": ["z=1", "+q=x"]}}
    config = OmegaConf.create({"z": 1, "a": {"y": "${z}", "b": "???"}, "hydra": hydra})
    save_composed(config, tmp_path / "deep/.hydra")
    folder = tmp_path / "deep/.hydra"
    assert (folder / "config.yaml").read_text() == "z: 1\na:\n  y: ${z}\n  b: ???\n"
    assert (folder / "hydra.yaml").read_text() == "hydra:\n  overrides:\n    task:\n    - z=1\n    - +q=x\n"
    assert (folder / "overrides.yaml").read_text() == "- z=1\n- +q=x\n"
