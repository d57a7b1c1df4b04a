"""MLflow's model registry: versions, and aliases that point at one of them.

An alias' earlier versions stand in a tag of the registered model, the newest first, so that it can be moved back. The
tag is written before the alias moves forward and after it has moved back: whatever fails in between, the alias is at
one version or the other, and the newest earlier version is at worst the one that it is at, which is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError
from bai_sweep.tracking import absolute, import_mlflow, mask_text, open_client, tags_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_EARLIER = "bai.earlier.{}"
_KEPT = 500  # earlier versions of an alias; MLflow's tags hold some thousand characters


class RegistryError(UserError):
    """The registry is out of reach, or refuses."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Args:
        number: MLflow's.
        source: Where its files are.
        tags: What was said of it when it was made.
    """

    number: str
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """One line for people."""
        known = [self.tags.get(key, "") for key in ("recipe", "origin", "score", "verdict")]
        said = "; ".join(part for part in known if part)
        forced = f"; forced: {self.tags['forced']}" if self.tags.get("forced") else ""
        return f"version {self.number}: {said or self.source}{forced}"


@final
class Registry:
    """One registered model.

    Args:
        tracking: Where the registry is.
        name: The registered model's.
        connect: Makes the client; for tests that need an outage.
    """

    def __init__(
        self, tracking: TrackingConfig, name: str, connect: Callable[[str], MlflowClient] = open_client
    ) -> None:
        self.tracking = absolute(tracking)
        self.name = name
        self._connect = connect
        self._opened: MlflowClient | None = None

    @property
    def address(self) -> str:
        """The store's, without secrets."""
        return mask_text(self.tracking.uri)

    @contextmanager
    def client(self, what: str) -> Iterator[MlflowClient]:
        """The client, for a block that does `what`.

        Raises:
            RegistryError: It could not.
        """
        try:
            if self._opened is None:
                import_mlflow(self.tracking.uri)
                self._opened = self._connect(self.tracking.uri)
            yield self._opened
        except UserError:
            raise
        except Exception as error:
            raise RegistryError(f"MLflow at {self.address} could not {what}: {mask_text(str(error))}") from error

    def at(self, alias: str) -> Version | None:
        """The version that an alias points at."""
        with self.client(f"look up {alias} of {self.name}") as client:
            model = _model(client, self.name)
            number = None if model is None else _aliases(model).get(alias)
            return None if number is None else _version(client, self.name, number)

    def made_of(self, promotion: str) -> Version | None:
        """The version of a promoted folder, by the id in its manifest."""
        with self.client(f"search the versions of {self.name}") as client:
            if _model(client, self.name) is None:
                return None
            found = client.search_model_versions(f"name = '{self.name}' and tags.`bai.promotion` = '{promotion}'")
            return _plain(found[0]) if found else None

    def register(self, source: str, run_id: str | None, tags: Mapping[str, str], description: str) -> Version:
        """Makes a version, and the registered model before it if there is none."""
        from mlflow.exceptions import MlflowException

        with self.client(f"register a version of {self.name}") as client:
            if _model(client, self.name) is None:
                try:
                    client.create_registered_model(self.name)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
                        raise
            made = client.create_model_version(
                self.name, source, run_id, tags=tags_of(tags), description=mask_text(description), await_creation_for=0
            )
            return _plain(made)

    def point(self, alias: str, version: Version) -> None:
        """Moves an alias to a version and keeps where it was."""
        with self.client(f"point {alias} of {self.name} at version {version.number}") as client:
            current, earlier = self._state(client, alias)
            if current == version.number:
                return
            if current is not None and earlier[:1] != [current]:
                self._remember(client, alias, [current, *earlier])
            client.set_registered_model_alias(self.name, alias, version.number)

    def before(self, alias: str) -> Version | None:
        """The version that an alias pointed at before; versions that were deleted since are passed over."""
        with self.client(f"look up the earlier versions of {self.name}") as client:
            current, earlier = self._state(client, alias)
            candidates = (_version(client, self.name, number) for number in earlier if number != current)
            return next((version for version in candidates if version is not None), None)

    def back(self, alias: str, version: Version) -> None:
        """Moves an alias to the version that `before` named; the next rollback goes to the one before that."""
        with self.client(f"move {alias} of {self.name} back to version {version.number}") as client:
            _, earlier = self._state(client, alias)
            client.set_registered_model_alias(self.name, alias, version.number)
            self._remember(client, alias, earlier[earlier.index(version.number) + 1 :])

    def _state(self, client: MlflowClient, alias: str) -> tuple[str | None, list[str]]:
        """Where an alias is, and where it was, the newest first."""
        model = _model(client, self.name)
        if model is None:
            return None, []
        tag = model.tags.get(_EARLIER.format(alias), "")
        return _aliases(model).get(alias), [number for number in tag.split(",") if number]

    def _remember(self, client: MlflowClient, alias: str, earlier: list[str]) -> None:
        client.set_registered_model_tag(self.name, _EARLIER.format(alias), ",".join(earlier[:_KEPT]))


def _model(client: MlflowClient, name: str) -> RegisteredModel | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _version(client: MlflowClient, name: str, number: str) -> Version | None:
    from mlflow.exceptions import MlflowException

    try:
        return _plain(client.get_model_version(name, number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _aliases(model: RegisteredModel) -> dict[str, str]:
    return {alias: str(number) for alias, number in model.aliases.items()}


def _plain(version: ModelVersion) -> Version:
    return Version(str(version.version), str(version.source), dict(version.tags))
