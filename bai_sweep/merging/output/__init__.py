"""What a merge leaves behind: a Hugging Face folder that is there whole or not at all, and the record of its making.

`write_model` streams a planned merge into one, `save_model` saves a live model; `ends_of` says what ends a response.
"""

from bai_sweep.merging.output._beside import refuse_existing, written_beside
from bai_sweep.merging.output._save import save_model
from bai_sweep.merging.output._settings import TRAVELS, copy_tokenizer, ends_of, generation_folder
from bai_sweep.merging.output._shards import Layout, plan_shards
from bai_sweep.merging.output._sink import FileSink
from bai_sweep.merging.output._tokenizer import add_tokens
from bai_sweep.merging.output._write import GeometryLike, Provenance, layout_of, room_for, write_model

__all__ = [
    "TRAVELS",
    "FileSink",
    "GeometryLike",
    "Layout",
    "Provenance",
    "add_tokens",
    "copy_tokenizer",
    "ends_of",
    "generation_folder",
    "layout_of",
    "plan_shards",
    "refuse_existing",
    "room_for",
    "save_model",
    "write_model",
    "written_beside",
]
