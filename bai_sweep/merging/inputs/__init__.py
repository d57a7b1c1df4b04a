"""The models of a merge as they lie on disk or on the hub: folders, shards, adapters; read in pieces, never whole.

`open_members` opens all of them; `Checkpoint` is one model's tensors; `digests` says which files they were.
"""

from bai_sweep.merging.inputs._checkpoint import Checkpoint
from bai_sweep.merging.inputs._digests import digests, hashing
from bai_sweep.merging.inputs._hub import folder_of, pinned
from bai_sweep.merging.inputs._members import Settings, open_members, settings_of

__all__ = ["Checkpoint", "Settings", "digests", "folder_of", "hashing", "open_members", "pinned", "settings_of"]
