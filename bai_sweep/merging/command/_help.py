"""The usage text, made of conf/merge.yaml and its comments: read as text, so that help needs no library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bai_sweep.sources import packaged_dir

_LINE = re.compile(r"(?P<indent> *)(?P<key>[\w]+): *(?P<value>[^#\n]*?) *(?:# *(?P<comment>.*))?")
_HEAD = """\
Merges models into one model folder.

  python -m bai_sweep.merge base=<model> sft.<name>=<model> [sft.<name>=<model> ...] out=<folder> [key=value ...]

  python -m bai_sweep.merge base=base sft.instruct=instruct sft.distilled=distilled alpha=0.5 out=merged
  python -m bai_sweep.merge base=base sft.instruct=instruct merge=ties merge.density=0.3 out=merged dry_run=true

Keys, with their defaults:
"""


def usage() -> str:
    """Every key with its default and what it does, then the methods with theirs."""
    lines = [_HEAD]
    lines += _keys(packaged_dir("conf") / "merge.yaml", "")
    for path in sorted((packaged_dir("conf") / "actor" / "merge").glob("*.yaml")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines += [f"\nmerge={path.stem}: {title}"]
        lines += _keys(path, "merge.")
    return "\n".join(lines)


def _keys(path: Path, prefix: str) -> Iterator[str]:
    """`key=default  comment` for each key of a file; of a nested one, with the keys above it."""
    above = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        found = _LINE.fullmatch(line)
        if not found or (prefix and found["key"] == "method"):
            continue
        if not found["indent"]:
            above = found["key"] + "."
        key = prefix + (above if found["indent"] else "") + found["key"]
        value = found["value"].replace("???", "").replace("{}", "")
        comment = found["comment"] or ""
        if value or comment:
            yield f"  {f'{key}={value}':24}  {comment}".rstrip()
