"""A run that writes its journal, and hands it to a sender if there is one."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from bai_sweep.records import UserError
from bai_sweep.tracking._delivery import LINE
from bai_sweep.tracking._journal import Journal, encode
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._parameters import flatten
from bai_sweep.tracking._protocol import Status
from bai_sweep.tracking._sender import Sender
from bai_sweep.tracking._view import encode_view

ARTIFACTS = "artifacts"
_NAME_LIMIT, _PARAM_LIMIT, _TAG_LIMIT = 250, 6000, 5000  # MLflow's; older servers take 5000 of a tag
_ODD_CHARACTER = re.compile(r"[^\w\-./: ]")

Connect = Callable[[int], Sender]  # given the journal offset of the attempt's first event


@final
class JournaledRun:
    """The one implementation of `TrialRun`; without a sender the journal is all there is."""

    def __init__(self, folder: Path, attempt: str, connect: Connect | None) -> None:
        self._folder = folder
        self._journal = Journal(folder, attempt)
        self._sender = connect(self._journal.start) if connect else None
        self._tables: list[str] = []

    @property
    def run_id(self) -> str | None:
        """The id MLflow gave; None without MLflow and as long as it is out of reach."""
        return self._sender.run_id() if self._sender else None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Constants of the run; secrets are masked, long values clipped."""
        flat = {name_of(key): clip(value, _PARAM_LIMIT) for key, value in flatten(params).items()}
        for part in chunks(flat, LINE["params"]):
            self.event("params", values=part)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures of one step, or of the whole run."""
        plain = {name_of(key): encode(float(value)) for key, value in values.items()}
        for part in chunks(plain, LINE["metrics"]):
            self.event("metrics", step=int(step or 0), values=part)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Labels to search by."""
        for part in chunks(tags_of(tags), LINE["tags"]):
            self.event("tags", values=part)

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """A file that exists already.

        Raises:
            UserError: there is no such file.
        """
        if not path.is_file():
            raise UserError(f"an artifact is a file that exists; got {str(path)!r}")
        path, home = path.absolute(), self._folder.absolute()
        # Inside the trial's folder by a relative path: results may be moved before they are sent.
        stored = path.relative_to(home) if path.is_relative_to(home) else path
        self.event("artifact", path=str(stored), folder=folder)

    def log_text(self, text: str, name: str) -> Path:
        """A text, kept in the trial's `artifacts/` and logged from there."""
        path = self._place(name)
        path.write_text(text, encoding="utf-8")
        return self._log_placed(path, name)

    def log_figure(self, figure: Any, name: str) -> Path:
        """A plotly (.html, .json) or a matplotlib figure (.png, .svg, .pdf).

        Raises:
            UserError: neither of the two, or another ending.
        """
        path = self._place(name)
        writers = {".html": "write_html", ".json": "write_json"} if hasattr(figure, "write_html") else {}
        if hasattr(figure, "savefig"):
            writers = dict.fromkeys((".png", ".svg", ".pdf"), "savefig")
        if path.suffix not in writers:
            expected = ", ".join(writers) or "a plotly or matplotlib figure"
            raise UserError(f"log_figure: expected {expected}; got {type(figure).__name__} as {name!r}")
        getattr(figure, writers[path.suffix])(path)
        return self._log_placed(path, name)

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> Path:
        """Rows with the same keys, in the format MLflow's interface draws as a table."""
        columns = list(rows[0]) if rows else []
        data = [[row.get(column) for column in columns] for row in rows]
        path = self.log_text(json.dumps({"columns": columns, "data": data}, default=str), name)
        self._tables.append(name)
        listed = [{"path": table, "type": "table"} for table in self._tables]
        self.set_tags({"mlflow.loggedArtifacts": json.dumps(listed)})
        return path

    def log_view(self, view: Mapping[str, Any]) -> None:
        """Columns and charts with which the interface opens this run's study."""
        self.event("view", value=encode_view(view))

    def event(self, kind: str, **data: Any) -> None:
        """Appends to the journal and wakes the sender."""
        self._journal.append(kind, **data)
        if self._sender:
            self._sender.poke()

    def close(self) -> None:
        """Brings the journal to the disk and the rest of it to MLflow, as far as it is there."""
        self._journal.sync()
        try:
            if self._sender:
                self._sender.close()
        finally:
            self._journal.close()

    def _place(self, name: str) -> Path:
        root = (self._folder / ARTIFACTS).absolute()
        path = root / name
        if ".." in path.parts or not path.is_relative_to(root):
            raise UserError(f"an artifact's name is a relative path without '..'; got {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _log_placed(self, path: Path, name: str) -> Path:
        folder = str(Path(name).parent)
        self.log_artifact(path, "" if folder == "." else folder)
        return path


@contextmanager
def recorded(run: JournaledRun) -> Iterator[JournaledRun]:
    """Ends the run as its block ends; a run's own trouble never hides the block's exception."""
    status: Status = "FINISHED"
    try:
        yield run
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        status = "KILLED" if interrupted else "FAILED"
        run.set_tags({"bai.failure": reason_of(error)})
        run.log_text(mask_text("".join(traceback.format_exception(error))), "failure.txt")
        raise
    finally:
        run.event("end", status=status)
        run.close()


def reason_of(error: BaseException) -> str:
    """`ValueError: the message`, one line, without secrets."""
    return mask_text(" ".join(f"{type(error).__name__}: {error}".split())).rstrip(": ")


def tags_of(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them: masked, clipped, with plain names."""
    return {name_of(key): clip(value, _TAG_LIMIT) for key, value in flatten(tags).items()}


def name_of(key: str) -> str:
    """A name without the characters MLflow refuses, and without the look of a path that leaves its folder."""
    parts = [part for part in _ODD_CHARACTER.sub("_", key).split("/") if part.strip(".")]
    return "/".join(parts)[:_NAME_LIMIT] or "_"


def clip(text: str, limit: int) -> str:
    """The text, or its beginning with a mark of how much is missing (the whole is in config.yaml)."""
    if len(text) <= limit:
        return text
    mark = f"... ({len(text)} characters)"
    return text[: limit - len(mark)] + mark


def chunks(values: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """The mapping in parts of at most `size` items."""
    items = list(values.items())
    for first in range(0, len(items), size):
        yield dict(items[first : first + size])
