"""What a model's name means."""

from pathlib import Path

import pytest

from bai_sweep.sources import fault_of, packaged_dir, resolve


def test_a_testbed_member_is_a_packaged_folder() -> None:
    name, revision = resolve("testbed://base")

    assert name.endswith("weights/base")
    assert revision is None
    assert fault_of("testbed://base") is None


@pytest.mark.parametrize(
    ("source", "name", "revision"),
    [("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None), ("owner/name@v1.0", "owner/name", "v1.0")],
)
def test_a_hub_id_may_pin_a_revision(source: str, name: str, revision: str | None) -> None:
    assert resolve(source) == (name, revision)
    assert fault_of(source) is None


def test_a_local_folder_needs_a_config(tmp_path: Path) -> None:
    assert "has none" in str(fault_of(str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    assert fault_of(str(tmp_path)) is None
    assert resolve(str(tmp_path)) == (str(tmp_path), None)


def test_an_adapter_folder_is_a_model_too(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")

    assert fault_of(str(tmp_path)) is None
    assert resolve(str(tmp_path)) == (str(tmp_path), None)


@pytest.mark.parametrize("source", ["/does/not/exist", "./nor/this", "~/nor-that", "a/b/c", "plain", ""])
def test_what_is_neither_is_a_fault(source: str) -> None:
    assert "no such folder" in str(fault_of(source))


def test_the_packaged_folders_are_there() -> None:
    assert (packaged_dir("conf") / "config.yaml").is_file()
    assert packaged_dir("evaluators").is_dir()


def test_a_file_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    # without the folder's dots it would pass for a hub id
    assert "'base/config.json' is a file; give the folder it is in" in str(fault_of("base/config.json"))


def test_a_folder_that_may_not_be_opened_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(Path, "is_file", refuse)

    assert "cannot be read: Permission denied" in str(fault_of(str(tmp_path)))
