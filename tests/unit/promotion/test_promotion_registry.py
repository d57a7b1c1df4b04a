"""Versions and aliases in a real MLflow store; outages by a client that fails where it is told to."""

from __future__ import annotations

import socket
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from bai_sweep.config import TrackingConfig
from bai_sweep.promotion import RegistryError, promote, rollback
from bai_sweep.promotion._registry import Registry, Version
from bai_sweep.records import Diagnosis, TrialResult, UserError
from bai_sweep.tracking import open_client
from tests.synthetic import verdict
from tests.tracking_store import client, shared_config
from tests.unit.promotion.promotion_helpers import Person, changed, request, study
from tests.unit.tracking.test_tracking_mlflow import end, serve


@pytest.fixture
def name() -> str:
    """A registered model of the test's own: the store is shared."""
    return f"bai-{uuid.uuid4().hex}"


@pytest.fixture
def tracking(tmp_path: Path) -> TrackingConfig:
    return shared_config(tmp_path)


class Failing:
    """The real client, but for one call that fails as if the server were away."""

    def __init__(self, real: MlflowClient, method: str) -> None:
        self._real, self._method = real, method

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._real, name)

        def away(*_: object, **__: object) -> None:
            raise ConnectionError("https://me:hunter2@mlflow.example/api is away")

        return away


def failing(method: str) -> Callable[[str], Any]:
    return lambda uri: Failing(open_client(uri), method)


def versions(registry: Registry, count: int) -> list[Version]:
    return [registry.register(f"file:///models/{n}", None, {"recipe": f"r{n}"}, "") for n in range(count)]


def number_at(registry: Registry, alias: str = "production") -> str | None:
    version = registry.at(alias)
    return None if version is None else version.number


# --- the alias and where it was ---


def test_rollbacks_in_a_row_go_back_one_by_one(tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    for version in versions(registry, 3):
        registry.point("production", version)

    seen = [rollback(tracking, name, "production", agree=lambda _: True).number for _ in range(2)]

    assert seen == ["2", "1"]
    assert number_at(registry) == "1"
    with pytest.raises(UserError, match="is at version 1, none before is known: there is nothing to go back to"):
        rollback(tracking, name, "production", agree=lambda _: True)
    assert len(client().search_model_versions(f"name = '{name}'")) == 3, "nothing is deleted"


def test_after_a_rollback_a_promotion_is_rolled_back_to_where_the_alias_was(
    tracking: TrackingConfig, name: str
) -> None:
    registry = Registry(tracking, name)
    first, second, third = versions(registry, 3)
    for version in (first, second):
        registry.point("production", version)
    rollback(tracking, name, "production", agree=lambda _: True)
    registry.point("production", third)

    assert rollback(tracking, name, "production", agree=lambda _: True).number == first.number
    with pytest.raises(UserError, match="nothing to go back to"):
        rollback(tracking, name, "production", agree=lambda _: True)


def test_an_alias_moved_by_hand_is_where_one_goes_back_to(tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    first, second, third = versions(registry, 3)
    registry.point("production", first)
    client().set_registered_model_alias(name, "production", second.number)
    registry.point("production", third)

    assert rollback(tracking, name, "production", agree=lambda _: True).number == second.number


def test_versions_that_were_deleted_are_passed_over(tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    first, second, third = versions(registry, 3)
    for version in (first, second, third):
        registry.point("production", version)
    client().delete_model_version(name, second.number)

    assert rollback(tracking, name, "production", agree=lambda _: True).number == first.number


def test_aliases_are_apart_and_pointing_twice_is_pointing_once(tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    first, second = versions(registry, 2)
    for version in (first, second, second):
        registry.point("production", version)
    registry.point("candidate", first)

    assert rollback(tracking, name, "production", agree=lambda _: True).number == first.number
    assert number_at(registry, "candidate") == first.number
    with pytest.raises(UserError, match=r"candidate of .* none before is known"):
        rollback(tracking, name, "candidate", agree=lambda _: True)


def test_a_rollback_shows_both_and_asks(tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    for version in versions(registry, 2):
        registry.point("production", version)
    person = Person(answer=False)

    with pytest.raises(UserError, match="not agreed to"):
        rollback(tracking, name, "production", agree=person.agree)

    assert person.asked == [f"production of {name}\n  now   version 2: r1\n  back  version 1: r0"]
    assert number_at(registry) == "2"


@pytest.mark.parametrize("call", ["set_registered_model_tag", "set_registered_model_alias"])
def test_a_move_that_fails_half_way_is_made_whole_by_the_next(call: str, tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    first, second, third = versions(registry, 3)
    registry.point("production", first)
    registry.point("production", second)

    with pytest.raises(RegistryError, match=r"could not point production of bai-\w+ at version 3: .*\*\*\*@mlflow"):
        Registry(tracking, name, failing(call)).point("production", third)
    assert number_at(registry) == "2"
    registry.point("production", third)
    seen = [rollback(tracking, name, "production", agree=lambda _: True).number for _ in range(2)]

    assert seen == ["2", "1"]


@pytest.mark.parametrize("call", ["set_registered_model_tag", "set_registered_model_alias"])
def test_a_rollback_that_fails_half_way_loses_no_version(call: str, tracking: TrackingConfig, name: str) -> None:
    registry = Registry(tracking, name)
    for version in versions(registry, 3):
        registry.point("production", version)
    broken = Registry(tracking, name, failing(call))
    target = broken.before("production")
    assert target is not None

    with pytest.raises(RegistryError, match="could not move production"):
        broken.back("production", target)
    after = number_at(registry)
    assert after == ("2" if call == "set_registered_model_tag" else "3")

    assert rollback(tracking, name, "production", agree=lambda _: True).number == ("1" if after == "2" else "2")


# --- promotion ---


def test_a_promotion_is_a_version_that_says_what_it_is(tmp_path: Path, tracking: TrackingConfig, name: str) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",)})
    person = Person()

    done = promote(request(folder, tracking=tracking, name=name), say=person.say, agree=person.agree)

    found = client().get_model_version_by_alias(name, "candidate")
    assert str(found.version) == done.version.number == "1"  # type: ignore[union-attr]
    assert found.source == (folder / "promoted" / "s-trial-0").as_uri()
    tags = found.tags
    assert tags["recipe"] == "0.3*base + 0.35*instruct + 0.35*distilled"
    assert (tags["study"], tags["trial"], tags["params.alpha"], tags["verdict"]) == ("s", "0", "0.3", "stable")
    assert (tags["score"], tags["eval/knowledge"]) == ("overall 90.0 ± 10.0", "90.00")
    assert tags["actor.sha256"] == TrialResult.load(folder / "trials" / "0").recipe.digest
    assert "forced" not in tags
    assert "0.3*base" in found.description
    assert person.asked == [], "candidate is not asked for"
    assert not (tmp_path / "mlartifacts").exists(), "nothing is copied"


def test_production_is_shown_with_what_it_replaces_and_asked_for(
    tmp_path: Path, tracking: TrackingConfig, name: str
) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",)})
    person = Person()
    promote(request(folder, tracking=tracking, name=name, to="production"), say=person.say, agree=person.agree)
    no = Person(answer=False)

    with pytest.raises(UserError, match=f"not agreed to: production of {name} is as it was"):
        promote(request(folder, trial=1, tracking=tracking, name=name, to="production"), say=no.say, agree=no.agree)

    assert person.asked[0].startswith(f"production of {name}\n  now  nothing\n  new  0.3*base")
    now, new = no.asked[0].splitlines()[1:]
    assert "version 1: 0.3*base" in now
    assert "overall 90.0 ± 10.0; stable" in now
    assert "0.7*base" in new
    assert "overall 50.0 ± 16.7; stable" in new
    assert number_at(Registry(tracking, name)) == "1"
    assert not (folder / "promoted" / "s-trial-1").exists(), "it is asked before the merge"


def test_the_same_call_makes_no_second_version_and_asks_no_second_time(
    tmp_path: Path, tracking: TrackingConfig, name: str
) -> None:
    folder = study(tmp_path, {0: ()})
    person = Person()
    for to in ("candidate", "production", "production"):
        promote(request(folder, tracking=tracking, name=name, to=to), say=person.say, agree=person.agree)

    assert len(client().search_model_versions(f"name = '{name}'")) == 1
    assert len(person.asked) == 1
    aliases = client().get_registered_model(name).aliases
    assert {alias: str(number) for alias, number in aliases.items()} == {"candidate": "1", "production": "1"}


def test_production_that_moved_while_the_merge_ran_is_asked_for_again(
    tmp_path: Path, tracking: TrackingConfig, name: str
) -> None:
    folder = study(tmp_path, {0: ()})
    registry = Registry(tracking, name)
    (other,) = versions(registry, 1)
    person = Person()

    def say(line: str) -> None:
        if line.startswith("trial 0 "):  # between the question and the merge
            registry.point("production", other)

    promote(request(folder, tracking=tracking, name=name, to="production"), say=say, agree=person.agree)

    assert ["now  nothing" in asked for asked in person.asked] == [True, False]
    assert "now  version 1: r0" in person.asked[1]


def test_a_forced_promotion_says_so_in_the_registry(tmp_path: Path, tracking: TrackingConfig, name: str) -> None:
    folder = study(tmp_path, {0: ()})
    changed(folder, 0, diagnosis=Diagnosis((verdict("length_collapse", "certain", onset=7),), 1.0, 0.2))
    asked = request(folder, trial=0, force=True, reason="for a demo", tracking=tracking, name=name)

    promote(asked, say=print, agree=Person().agree)

    found = Registry(tracking, name).at("candidate")
    assert found is not None
    assert found.tags["forced"] == "length collapse is certain from step 7; reason: for a demo"
    assert "forced: length collapse" in found.describe()


def test_without_mlflow_the_folder_is_finished_and_registered_later(
    tmp_path: Path, tracking: TrackingConfig, name: str
) -> None:
    folder = study(tmp_path, {0: ()})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = tracking.model_copy(update={"uri": f"http://me:hunter2@127.0.0.1:{port}"})
    person = Person()

    with pytest.raises(RegistryError) as failed:
        promote(request(folder, tracking=away, name=name, to="production"), say=person.say, agree=person.agree)

    assert "the same command registers it without merging again" in str(failed.value)
    assert "hunter2" not in str(failed.value) + "".join(person.heard)
    weights = folder / "promoted" / "s-trial-0" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    done = promote(request(folder, tracking=tracking, name=name, to="production"), say=person.say, agree=person.agree)
    assert done.folder.reused
    assert weights.stat().st_mtime_ns == before
    assert number_at(Registry(tracking, name)) == "1"


def test_tracking_none_gives_the_folder_only(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()})
    person = Person()

    done = promote(request(folder, to="production"), say=person.say, agree=person.agree)

    assert done.version is None
    assert done.folder.path.is_dir()
    assert person.asked == []
    with pytest.raises(UserError, match="tracking=none has no registry"):
        rollback(request(folder).study.tracking, "bai-testbed", "production", agree=person.agree)


def test_a_fresh_process_that_promotes_nothing_loads_neither_torch_nor_mlflow() -> None:
    import subprocess

    code = "import bai_sweep.command._promote, sys; print([m for m in ('torch', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_server_gets_the_files_into_the_trials_run(tmp_path: Path, name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = shared_config(tmp_path).model_copy(update={"uri": f"http://127.0.0.1:{port}", "artifacts": ""})
    server = serve(tmp_path, port)
    try:
        served = open_client(config.uri)
        run = served.create_run(served.create_experiment("e")).info.run_id
        folder = study(tmp_path, {0: (), 1: ("alpha=0.7",)}, tracking=config)
        changed(folder, 0, run_id=run)
        for number in (0, 1):
            promote(request(folder, trial=number, name=name), say=print, agree=Person().agree)

        first, second = (served.get_model_version(name, str(number)) for number in (1, 2))
        assert first.run_id == run
        assert first.source == f"{served.get_run(run).info.artifact_uri}/promoted/s-trial-0"
        assert second.run_id not in ("", run), "a trial that was not tracked there has a run of its own"
        local = Path(served.download_artifacts(run, "promoted/s-trial-0", str(tmp_path)))
        sent = {path.name: path.read_bytes() for path in local.iterdir()}
        assert sent == {path.name: path.read_bytes() for path in (folder / "promoted/s-trial-0").iterdir()}
    finally:
        end(server)
