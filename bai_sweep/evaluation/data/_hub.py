"""What of a benchmark comes from the hub, and whether it has come."""

from __future__ import annotations

from bai_sweep.evaluation.data._places import folder_of, spec_of
from bai_sweep.evaluation.data._reading import find
from bai_sweep.evaluation.data._types import HubRows


def hub_datasets(benchmark: str) -> tuple[str, ...]:
    """The ids of the datasets on the hub that a benchmark's files are made of; files from elsewhere have none.

    Raises:
        UserError: no such benchmark.
    """
    sources = (source for file in spec_of(benchmark).files for source in file.sources)
    return tuple(dict.fromkeys(source.repo for source in sources if isinstance(source, HubRows)))


def is_fetched(benchmark: str) -> bool:
    """Whether the user's cache has files of it, from an earlier run.

    Raises:
        UserError: no such benchmark.
    """
    spec = spec_of(benchmark)
    return any(find(folder_of(spec, None), file.stem) for file in spec.files)
