"""Hub ids, read from a cache laid out as the hub's client does, without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from bai_sweep.merging.inputs import digests, folder_of, open_members, pinned, settings_of
from bai_sweep.records import UserError
from tests.unit.merging.inputs_helpers import exact, stored_bytes, values_of, write

OLD, NEW = "a" * 40, "b" * 40
WEIGHTS = {OLD: stored_bytes(np.arange(4.0), "BF16"), NEW: stored_bytes(np.arange(4.0) + 8, "BF16")}


# as that of the client's HTTP library, whose name changes between its versions
ProxyError = type("ProxyError", (Exception,), {"__module__": "httpx2"})


def snapshot(cache: Path, name: str, commit: str, files: dict[str, bytes]) -> Path:
    """A snapshot as the client leaves it: links to blobs, which are named by SHA-256 if they are large."""
    repository = cache / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for file, data in files.items():
        large = file.endswith(".safetensors")
        blob = hashlib.sha256(data).hexdigest() if large else hashlib.sha1(data).hexdigest()
        (repository / "blobs" / blob).write_bytes(data)
        (folder / file).symlink_to(Path("..") / ".." / "blobs" / blob)
    return folder


def refer(cache: Path, name: str, reference: str, commit: str) -> None:
    references = cache / f"models--{name.replace('/', '--')}" / "refs"
    references.mkdir(exist_ok=True)
    (references / reference).write_text(commit)


def weights_file(folder: Path, commit: str) -> bytes:
    return write(folder / "scratch" / "w.safetensors", {"w": WEIGHTS[commit]}).read_bytes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`owner/name` with two commits, `main` the newer and `v1` the older, and no network."""
    root = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for commit, size in ((OLD, 1), (NEW, 2)):
        files = {"config.json": b'{"size": %d}' % size, "model.safetensors": weights_file(tmp_path, commit)}
        snapshot(root, "owner/name", commit, files)
    refer(root, "owner/name", "main", NEW)
    refer(root, "owner/name", "v1", OLD)
    return root


@pytest.mark.parametrize(
    ("source", "commit"),
    [("owner/name", NEW), ("owner/name@main", NEW), ("owner/name@v1", OLD), (f"owner/name@{OLD}", OLD)],
)
def test_a_hub_id_is_pinned_to_the_commit_that_is_read(cache: Path, source: str, commit: str) -> None:
    assert pinned(source) == f"owner/name@{commit}"
    assert pinned(pinned(source)) == f"owner/name@{commit}"
    assert folder_of(source) == cache / "models--owner--name" / "snapshots" / commit
    with open_members({"base": source}) as members:
        base = members["base"]
        assert base.source == f"owner/name@{commit}"
        assert base.config == {"size": 1 if commit == OLD else 2}
        np.testing.assert_array_equal(values_of(base.tensors, "w"), exact(WEIGHTS[commit]))
        assert base.files == (base.folder / "model.safetensors",)


def test_a_folder_is_pinned_to_its_own_name(tmp_path: Path) -> None:
    assert pinned(str(tmp_path)) == str(tmp_path)
    assert pinned("testbed://base") == "testbed://base"
    assert folder_of(str(tmp_path)) == tmp_path


def test_a_branch_that_moves_meanwhile_is_read_at_one_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bai_sweep.merging.inputs import _members

    def move_after_looking(source: str) -> str:
        found = pinned(source)
        refer(cache, "owner/name", "main", OLD)
        return found

    monkeypatch.setattr(_members, "pinned", move_after_looking)

    with open_members({"base": "owner/name"}) as members:
        assert members["base"].source == f"owner/name@{NEW}"
        assert members["base"].config == {"size": 2}
        np.testing.assert_array_equal(values_of(members["base"].tensors, "w"), exact(WEIGHTS[NEW]))


@pytest.mark.parametrize(
    ("source", "said"),
    [("owner/other", "'owner/other' could not be read"), ("owner/name@v2", r"'owner/name' \(revision v2\) could not")],
)
def test_what_the_cache_lacks_is_an_error_offline(cache: Path, source: str, said: str) -> None:
    del cache
    with pytest.raises(UserError, match=said) as caught:
        pinned(source)

    assert "HF_TOKEN" in str(caught.value)


def asked(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[dict[str, object]]:
    calls: list[dict[str, object]] = []

    def snapshot_download(name: str, **arguments: object) -> object:
        calls.append({"name": name, **arguments})
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_neither_pickles_nor_code_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import filter_repo_objects

    calls = asked(monkeypatch, str(tmp_path))
    repository = {
        *("config.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "model.safetensors"),
        *("additional_chat_templates/tool.jinja", "model-00001-of-00002.safetensors"),
        *("pytorch_model.bin", "modeling_own.py", "model.pt", "tf_model.h5", "flax_model.msgpack", "m.gguf"),
        *("original/consolidated.00.safetensors", "consolidated.safetensors", "onnx/model.onnx", "training_args.bin"),
    }

    folder_of("owner/name@v1")
    folder_of("owner/name", weights=False)

    got = [
        set(filter_repo_objects(repository, allow_patterns=c["allow_patterns"], ignore_patterns=c["ignore_patterns"]))
        for c in calls
    ]
    assert [(c["name"], c["revision"]) for c in calls] == [("owner/name", "v1"), ("owner/name", None)]
    settings = {"config.json", "tokenizer.model", "merges.txt", "chat_template.jinja"}
    settings |= {"additional_chat_templates/tool.jinja"}
    assert got == [settings | {"model.safetensors", "model-00001-of-00002.safetensors"}, settings]


@pytest.mark.parametrize("error", [ProxyError("no way out"), OSError("no way out"), ValueError("no way out")])
def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    asked(monkeypatch, error)

    with pytest.raises(UserError, match="'owner/name' could not be read: no way out; check the name, the network"):
        folder_of("owner/name")


def test_a_fault_of_ours_is_not_taken_for_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, RuntimeError("a bug"))

    with pytest.raises(RuntimeError, match="a bug"):
        folder_of("owner/name")


def test_a_snapshot_without_a_commit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, str(tmp_path))

    with pytest.raises(UserError, match="names a snapshot's folder by its commit"):
        pinned("owner/name")


def test_settings_are_read_without_weights(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache / "models--owner--name" / "snapshots" / OLD
    (folder / "model.safetensors").unlink()

    found = settings_of({"base": "owner/name@v1"})["base"]

    assert (found.source, found.folder, found.config) == (f"owner/name@{OLD}", folder, {"size": 1})


def test_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 100_000)

    found = digests([*files, files[0]], threads=3)

    assert found == {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_file_that_changes_is_hashed_again_and_one_that_does_not_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = digests([file], 1)[file]
    (tmp_path / "other").write_bytes(b"two")
    (tmp_path / "other").replace(file)  # as long, and perhaps in the same tick of the clock

    second = digests([file], 1)[file]
    monkeypatch.setattr(hashlib, "file_digest", None)

    assert [first, second] == [hashlib.sha256(data).hexdigest() for data in (b"one", b"two")]
    assert digests([file], 1)[file] == second


def test_a_blob_of_the_hubs_cache_has_its_digest_in_its_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache / "models--owner--name" / "snapshots" / OLD
    weights, config = folder / "model.safetensors", folder / "config.json"
    expected = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in (weights, config)}

    assert digests([weights, config], 2) == expected  # the config's blob is named otherwise, and hashed
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert digests([weights], 1) == {weights: expected[weights]}


def test_a_name_of_64_digits_elsewhere_is_no_digest(tmp_path: Path) -> None:
    file = tmp_path / ("0" * 64)
    file.write_bytes(b"data")

    assert digests([file], 1) == {file: hashlib.sha256(b"data").hexdigest()}


def test_a_file_that_cannot_be_hashed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: cannot be read"):
        digests([tmp_path / "absent"], 2)
