"""Fetching, against a server of files that really answers on this machine and folders laid out like the hub's."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import evaluation_data_cases as cases
import pytest
from evaluation_data_cases import write_lines

from bai_sweep.evaluation.data import check, describe, fetch, load
from bai_sweep.evaluation.data._files import sha256
from bai_sweep.evaluation.data._transport import Transport, download, split_rows
from bai_sweep.evaluation.data._types import HubRows
from bai_sweep.evaluation.data.benchmarks import SPECS
from bai_sweep.evaluation.data.benchmarks._livebench import TASKS
from bai_sweep.records import UserError

COMMIT = "c0ffee"
MBPP = "/evalplus/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz"


@dataclass
class Place:
    """What is served by path, how often each path was asked for, and statuses to answer first."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    port: int = 0

    def download(self, url: str, path: Path) -> None:
        """The real download, from here."""
        host = next(h for h in ("https://github.com", "https://raw.githubusercontent.com") if url.startswith(h))
        download(f"http://127.0.0.1:{self.port}{url.removeprefix(host)}", path)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    here = Place()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append(self.path)
            fault = here.faults.pop(0) if here.faults else 0
            body = here.files.get(self.path)
            self.send_response(fault if fault >= 400 else 200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write((body or b"")[: -9 if fault == 1 else None])  # 1: the connection ends too early

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        here.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        server.shutdown()
        thread.join()


@dataclass
class Hub:
    """Datasets in folders named as on the hub, read by the real code."""

    root: Path
    asked: list[HubRows] = field(default_factory=list)
    fails_after: int = 10**6

    def rows(self, source: HubRows) -> tuple[list[dict[str, Any]], str]:
        if len(self.asked) >= self.fails_after:
            raise UserError(f"{source} cannot be fetched: the line is dead")
        self.asked.append(source)
        return split_rows(source, str(self.root / source.repo), None), source.revision or COMMIT


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.disable_progress_bars()
    return Hub(tmp_path / "hub")


def _nothing(*_: Any) -> Any:
    raise AssertionError("nothing is to be fetched this way")


def _served(place: Place) -> Transport:
    return Transport(hub_rows=_nothing, download=place.download)


def _gzip_lines(rows: list[dict[str, Any]]) -> bytes:
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


def test_a_file_is_taken_as_it_is_and_recorded(tmp_path: Path, place: Place) -> None:
    place.files[MBPP] = _gzip_lines(cases.mbpp_plus())
    said: list[str] = []
    fetch(["mbpp_plus"], tmp_path, on_progress=said.append, transport=_served(place))
    path = tmp_path / "mbpp_plus/MbppPlus.jsonl.gz"
    assert path.read_bytes() == place.files[MBPP]
    url = SPECS["mbpp_plus"].files[0].sources[0].url
    assert said == [f"MBPP+ v0.2.0: MbppPlus.jsonl.gz (1 of 1), 378 rows, fetched from {url}"]
    manifest = json.loads((tmp_path / "mbpp_plus/manifest.json").read_text())
    assert datetime.fromisoformat(manifest.pop("fetched")).tzinfo is not None
    assert manifest == {
        "benchmark": "mbpp_plus",
        "version": "v0.2.0",
        "source": url,
        "revision": "v0.2.0",
        "licence": SPECS["mbpp_plus"].licence,
        "files": {
            "MbppPlus.jsonl.gz": {
                "sha256": sha256(path),
                "bytes": path.stat().st_size,
                "rows": 378,
                "source": url,
                "revision": "v0.2.0",
            }
        },
    }
    assert check("mbpp_plus", tmp_path, partial=False) is None
    assert describe("mbpp_plus", tmp_path).source == f"{url}@v0.2.0"
    assert load("mbpp_plus", tmp_path)["test"] == cases.mbpp_plus()


def test_what_is_there_is_not_fetched_again(tmp_path: Path, place: Place) -> None:
    place.files[MBPP] = _gzip_lines(cases.mbpp_plus())
    fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    manifest = (tmp_path / "mbpp_plus/manifest.json").read_bytes()
    said: list[str] = []
    fetch(["mbpp_plus"], tmp_path, on_progress=said.append, transport=_served(place))
    assert place.asked == [MBPP]
    assert said == ["MBPP+ v0.2.0: MbppPlus.jsonl.gz (1 of 1), 378 rows, is there"]
    assert (tmp_path / "mbpp_plus/manifest.json").read_bytes() == manifest


def test_a_changed_file_is_moved_aside_and_fetched(tmp_path: Path, place: Place) -> None:
    place.files[MBPP] = _gzip_lines(cases.mbpp_plus())
    fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    path = tmp_path / "mbpp_plus/MbppPlus.jsonl.gz"
    path.write_bytes(b"changed")
    fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    assert path.read_bytes() == place.files[MBPP]
    assert path.with_name("MbppPlus.jsonl.gz.rejected").read_bytes() == b"changed"


def test_a_good_file_without_a_manifest_is_adopted(tmp_path: Path) -> None:
    write_lines(tmp_path / "mbpp_plus/MbppPlus.jsonl", cases.mbpp_plus())
    fetch(["mbpp_plus"], tmp_path, transport=Transport(_nothing, _nothing))
    assert describe("mbpp_plus", tmp_path).source == "found in place@unknown"


def test_every_form_of_another_version_makes_way(tmp_path: Path, place: Place) -> None:
    """A file that stood would be read before the fetched one."""
    place.files[MBPP] = _gzip_lines(cases.mbpp_plus())
    old = write_lines(tmp_path / "mbpp_plus/MbppPlus.jsonl", cases.mbpp_plus(399))
    write_lines(tmp_path / "mbpp_plus/MbppPlus.jsonl.gz", cases.mbpp_plus(399))
    fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    assert not old.exists()
    assert check("mbpp_plus", tmp_path, partial=False) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            _gzip_lines(cases.mbpp_plus(399)),
            r"is not MBPP\+ v0.2.0: .*399 rows are MBPP\+ v0.1.0 or older; nothing was",
        ),
        (_gzip_lines(cases.mbpp_plus(80)), r"has 80 rows, the file of MBPP\+ v0.2.0 378; nothing was kept"),
        (b"<html>Sign in</html>", r"is no whole gzip file"),
    ],
)
def test_what_fails_its_check_is_not_kept(tmp_path: Path, place: Place, content: bytes, message: str) -> None:
    place.files[MBPP] = content
    with pytest.raises(UserError, match=message):
        fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    assert [path.name for path in (tmp_path / "mbpp_plus").iterdir()] == [".lock"]


def test_other_bytes_than_the_commits_are_refused(tmp_path: Path, place: Place) -> None:
    """The items would pass their check: only git's id tells that they are not the official ones."""
    source = SPECS["mixeval_hard_2024-06-01"].files[0].sources[0]
    place.files[source.url.removeprefix("https://raw.githubusercontent.com")] = json.dumps(
        cases.mixeval("free-form")
    ).encode()
    with pytest.raises(
        UserError, match=r"free-form\.json gave other bytes than the official file \(git id [0-9a-f]{40}"
    ):
        fetch(["mixeval_hard_2024-06-01"], tmp_path, transport=_served(place))
    assert [path.name for path in (tmp_path / "mixeval_hard/2024-06-01").iterdir()] == [".lock"]


@pytest.mark.parametrize("faults", [[503, 503], [429], [1], [1, 500]])
def test_passing_failures_are_tried_again(tmp_path: Path, place: Place, faults: list[int]) -> None:
    place.files[MBPP] = _gzip_lines(cases.mbpp_plus())
    place.faults = list(faults)
    fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    assert place.asked == [MBPP] * (len(faults) + 1)


@pytest.mark.parametrize(
    ("faults", "asked", "message"),
    [
        (
            [404],
            1,
            r"cannot be fetched: HTTP Error 404: Not Found; where there is no network, fetch on another machine",
        ),
        ([503, 503, 503], 3, "HTTP Error 503"),
        ([1, 1, 1], 3, r"\d+ of \d+ bytes arrived"),
    ],
)
def test_lasting_failures_are_said(tmp_path: Path, place: Place, faults: list[int], asked: int, message: str) -> None:
    place.files[MBPP] = _gzip_lines(cases.mbpp_plus())
    place.faults = list(faults)
    with pytest.raises(UserError, match=message):
        fetch(["mbpp_plus"], tmp_path, transport=_served(place))
    assert len(place.asked) == asked


def test_rows_of_the_hub_are_normalised(tmp_path: Path, hub: Hub) -> None:
    write_lines(hub.root / "Maxwell-Jia/AIME_2024/train.jsonl", cases.aime_as_on_the_hub())
    fetch(["aime_2024"], tmp_path / "data", transport=Transport(hub.rows, _nothing))
    lines = (tmp_path / "data/aime_2024/test.jsonl").read_text().splitlines()
    assert json.loads(lines[7]) == {"id": "2024-I-7", "problem": "Find 7.", "solution": "See.", "answer": "7"}
    source = "huggingface.co/datasets/Maxwell-Jia/AIME_2024"
    assert describe("aime_2024", tmp_path / "data").source == f"{source}@{COMMIT}"


def test_math_is_seven_configurations_of_one_commit(tmp_path: Path, hub: Hub) -> None:
    folder = hub.root / "EleutherAI/hendrycks_math"
    counts = {"algebra": 1187, "counting_and_probability": 474, "geometry": 479, "intermediate_algebra": 903}
    counts |= {"number_theory": 540, "prealgebra": 871, "precalculus": 546}
    for config, count in counts.items():
        write_lines(folder / config / "test.jsonl", cases.math_as_on_the_hub(config, count))
    configs = "".join(
        f"- config_name: {c}\n  data_files:\n  - split: test\n    path: {c}/test.jsonl\n" for c in counts
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    fetch(["math"], tmp_path / "data", transport=Transport(hub.rows, _nothing))
    rows = load("math", tmp_path / "data")["test"]
    assert [row["subject"] for row in rows] == [config for config, count in counts.items() for _ in range(count)]
    assert rows[0]["level"] == 3
    assert describe("math", tmp_path / "data").source.endswith("@0bd4da3ba883718272d0e821efdf10b63c2ed3bf")


def _livebench_hub(root: Path) -> None:
    """Categories with all their tasks and with dates as timestamps, as the hub has them."""
    import pyarrow
    from pyarrow import parquet

    for category, tasks in TASKS.items():
        rows = [row for task, count in tasks.items() for row in cases.livebench(category, task, count)]
        stamped = [row | {"livebench_release_date": datetime(2024, 11, 25)} for row in rows]
        path = root / f"livebench/{category}/data/test-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(pyarrow.Table.from_pylist(stamped), path)


def test_livebench_goes_on_where_it_was_interrupted(tmp_path: Path, hub: Hub) -> None:
    _livebench_hub(hub.root)
    data = tmp_path / "data"
    hub.fails_after = 5
    with pytest.raises(UserError, match="livebench/instruction_following cannot be fetched: the line is dead"):
        fetch(["livebench"], data, transport=Transport(hub.rows, _nothing))
    assert check("livebench", data, partial=True) is None
    assert "there is no" in (check("livebench", data, partial=False) or "")
    begun = list(hub.asked)
    hub.fails_after, hub.asked = 10**6, []
    fetch(["livebench"], data, transport=Transport(hub.rows, _nothing))
    assert len(hub.asked) == 18 - 5
    assert not set(begun) & set(hub.asked)
    assert check("livebench", data, partial=False) is None
    assert load("livebench", data)["math/olympiad"] == cases.livebench("math", "olympiad", 36)


def test_a_fetch_that_goes_on_keeps_to_its_commit(tmp_path: Path, hub: Hub) -> None:
    _livebench_hub(hub.root)
    hub.fails_after = 1  # one of the two coding tasks
    with pytest.raises(UserError, match="the line is dead"):
        fetch(["livebench"], tmp_path / "data", transport=Transport(hub.rows, _nothing))
    hub.fails_after, hub.asked = 10**6, []
    fetch(["livebench"], tmp_path / "data", transport=Transport(hub.rows, _nothing))
    assert [source.revision for source in hub.asked[:2]] == [COMMIT, None]  # coding goes on, data_analysis begins


def test_without_a_folder_a_benchmark_is_fetched_once(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(hub.root / "Maxwell-Jia/AIME_2024/train.jsonl", cases.aime_as_on_the_hub())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("bai_sweep.evaluation.data._fetch.ONLINE", Transport(hub.rows, _nothing))
    assert load("aime_2024", None) == load("aime_2024", None)
    assert len(load("aime_2024", None)["test"]) == 30
    assert len(hub.asked) == 1
    assert describe("aime_2024", None).digest == describe("aime_2024", tmp_path / "cache/bai-sweep/benchmarks").digest


def test_a_hub_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from bai_sweep.evaluation.data._transport import _newest, hub_rows

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    _newest.cache_clear()
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    source = HubRows("m-a-p/SuperGPQA", None, "train")
    with pytest.raises(
        UserError, match=r"m-a-p/SuperGPQA cannot be fetched: no route to host; where there is no network"
    ):
        hub_rows(source)


def test_the_newest_commit_is_asked_once_and_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from bai_sweep.evaluation.data import _transport

    asked: list[str] = []
    taken: list[tuple[str, str | None]] = []

    class Info:
        sha = COMMIT

    def info(self: Any, repo: str) -> Info:
        asked.append(repo)
        return Info()

    def rows(source: HubRows, path: str, revision: str | None) -> list[dict[str, Any]]:
        taken.append((path, revision))
        return [{"n": 1}]

    _transport._newest.cache_clear()
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", info)
    monkeypatch.setattr(_transport, "split_rows", rows)
    source = HubRows("owner/name", None, "test")
    assert _transport.hub_rows(source) == ([{"n": 1}], COMMIT)
    _transport.hub_rows(source)
    _transport.hub_rows(replace(source, revision="pinned"))
    assert asked == ["owner/name"]
    assert taken == [("owner/name", COMMIT), ("owner/name", COMMIT), ("owner/name", "pinned")]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # `datasets` looks into its own cache then
    assert _transport.hub_rows(source) == ([{"n": 1}], "unknown")
    assert taken[-1] == ("owner/name", None)
    _transport._newest.cache_clear()


def test_the_official_arenahard_files_arrive(tmp_path: Path, place: Place, shared_data: Callable[[str], Path]) -> None:
    """The official bytes have the git ids that the table pins."""
    files = shared_data("arenahard/arena-hard-v0.1")
    for file in SPECS["arenahard_v0.1"].files:
        path = file.sources[0].url.removeprefix("https://raw.githubusercontent.com")
        place.files[path] = (files / f"{file.stem}.jsonl").read_bytes()
    fetch(["arenahard_v0.1"], tmp_path, transport=_served(place))
    assert check("arenahard_v0.1", tmp_path, partial=False) is None
    assert describe("arenahard_v0.1", tmp_path).rows == {"question": 500, "baseline/gpt-4-0314": 500}


def test_a_baseline_without_every_answer_is_not_kept(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPECS["arenahard_v0.1"]
    unpinned = tuple(replace(file, sources=(replace(file.sources[0], blob=None),)) for file in spec.files)
    monkeypatch.setitem(SPECS, spec.name, replace(spec, files=unpinned))
    answers = [row | {"uid": f"x{row['uid']}"} for row in cases.arena_answers("gpt-4-0314")]
    for file, rows in zip(spec.files, (cases.arena_questions(), answers), strict=True):
        path = file.sources[0].url.removeprefix("https://raw.githubusercontent.com")
        place.files[path] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with pytest.raises(UserError, match=r"gpt-4-0314\.jsonl: the baseline answers every question; 500 have none"):
        fetch([spec.name], tmp_path, transport=_served(place))
    assert not (tmp_path / "arenahard/v0.1/model_answer/gpt-4-0314.jsonl").exists()
    assert list(json.loads((tmp_path / "arenahard/v0.1/manifest.json").read_text())["files"]) == ["question.jsonl"]
