"""A trial's `.hydra/` folder: what Hydra writes there, written by libyaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

# OmegaConf reads these words as numbers though YAML does not, so they are quoted to stay words.
_LIKE_A_NUMBER = re.compile(r"[-+]?(\d[\d_]*([eE][-+]?\d+)|\d[\d_]*\.[\d_]*([eE]\d+)?|\.\d+([eE]\d+)?)")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # without libyaml the slow one
    pass


def _text(dumper: Any, text: str) -> Any:
    style = "'" if _LIKE_A_NUMBER.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def save_composed(config: DictConfig, folder: Path) -> None:
    """Writes config.yaml, hydra.yaml and overrides.yaml; interpolations stay as they are written."""
    whole = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(whole, dict)
    hydra = whole.pop("hydra")
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in {"config": whole, "hydra": {"hydra": hydra}, "overrides": hydra["overrides"]["task"]}.items():
        text = yaml.dump(part, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
