"""GPUs to workers, with invented devices."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import UserError
from bai_sweep.search import _gpus
from bai_sweep.search._gpus import gpus_of_workers, visible_gpus
from bai_sweep.sources import packaged_dir


def _config(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", list(overrides)))


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gpus, "visible_gpus", lambda: ["0", "1", "GPU-2f", "5"])


@pytest.mark.usefixtures("four")
def test_each_worker_has_gpus_of_its_own() -> None:
    assert gpus_of_workers([_config()], 2) == ["0", "1"]
    assert gpus_of_workers([_config("device=cuda")], 4) == ["0", "1", "GPU-2f", "5"]
    assert gpus_of_workers([_config("rl.num_processes=2"), _config()], 2) == ["0,1", "GPU-2f,5"]


@pytest.mark.usefixtures("four")
def test_nothing_is_divided_where_nothing_needs_to_be() -> None:
    assert gpus_of_workers([_config()], 1) == []
    assert gpus_of_workers([_config("device=cpu")], 8) == []


@pytest.mark.usefixtures("four")
def test_more_workers_than_gpus_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"workers=5 with 1 GPU to a trial take 5; this machine shows 4; take workers=4"
    ):
        gpus_of_workers([_config()], 5)
    with pytest.raises(
        UserError, match=r"workers=3 with 2 GPUs to a trial take 6; this machine shows 4; take workers=2"
    ):
        gpus_of_workers([_config("rl.num_processes=2")], 3)
    with pytest.raises(UserError, match=r"got device=cuda:1, which is one for all; take device=cuda"):
        gpus_of_workers([_config("device=cuda:1")], 2)


def test_without_gpus_there_is_nothing_to_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gpus, "visible_gpus", list)
    assert gpus_of_workers([_config()], 3) == []


@pytest.mark.parametrize(
    ("named", "count", "expected"), [(None, 2, ["0", "1"]), ("3,7", 2, ["3", "7"]), ("", 0, []), ("3,99", 1, ["3"])]
)
def test_gpus_go_by_the_names_that_the_user_gave(
    named: str | None, count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected
