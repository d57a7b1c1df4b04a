"""What the configurations of two models say of whether their weights may be added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bai_sweep.merging._types import Member
from bai_sweep.merging.compatibility._tying import settings_of

_LAYOUT = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim"),
    "moe_intermediate_size": ("moe_intermediate_size",),
    "number of experts": ("num_local_experts", "num_experts", "n_routed_experts"),
}
_FUNCTION = (
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "hidden_act",
    "activation_function",
    "max_position_embeddings",
    "n_positions",
    "num_experts_per_tok",
    "norm_topk_prob",
    "layer_types",
    "partial_rotary_factor",
    "rotary_pct",
    "attention_multiplier",
    "residual_multiplier",
    "embedding_multiplier",
    "logits_scaling",
    "query_pre_attn_scalar",
)
_OFF_IF_ABSENT = ("attn_logit_softcapping", "final_logit_softcapping")
_THETA = 10000.0


def layout_faults(members: Mapping[str, Member]) -> list[str]:
    """Settings that decide shapes or classes and differ from the first member's; and quantised members."""
    faults = [
        f"{name}: its weights are quantised ({_method(member)}); only floating weights are merged: take the original"
        for name, member in members.items()
        if member.config.get("quantization_config")
    ]
    readers: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "architectures": lambda config: config.get("architectures"),
        "model_type": lambda config: config.get("model_type"),
    }
    readers |= {key: _first_of(names) for key, names in _LAYOUT.items()}
    readers |= {"num_key_value_heads": _key_value_heads, "head_dim": _head_dim}
    for key, reader in readers.items():
        faults += _differences(key, {name: reader(member.config) for name, member in members.items()})
    return faults


def function_doubts(members: Mapping[str, Member]) -> list[str]:
    """Settings that leave shapes alone and change what the weights compute, where they differ."""
    configs = {name: settings_of(member.config) for name, member in members.items()}
    doubts: list[str] = []
    readers: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "rope_theta": _rope_theta,
        "rope_scaling": _rope_scaling,
        "sliding_window": _sliding_window,
    }
    readers |= {key: _off_if_absent(key) for key in _OFF_IF_ABSENT}
    readers |= {key: _first_of((key,)) for key in _FUNCTION}
    for key, reader in readers.items():
        doubts += _differences(key, {name: reader(config) for name, config in configs.items()})
    ties = {name: config.get("tie_word_embeddings") for name, config in configs.items()}
    doubts += _differences("tie_word_embeddings", ties)
    return [f"the models differ in {doubt}" for doubt in doubts]


def _differences(key: str, values: Mapping[str, object]) -> list[str]:
    """Against the first member that says; who says nothing does not differ."""
    told = {name: value for name, value in values.items() if value is not None}
    if not told:
        return []
    (first, expected), *others = told.items()
    return [f"{key}: {expected!r} in {first}, {value!r} in {name}" for name, value in others if value != expected]


def _first_of(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], object]:
    def read(config: Mapping[str, Any]) -> object:
        settings = settings_of(config)
        return next((settings[name] for name in names if settings.get(name) is not None), None)

    return read


def _key_value_heads(config: Mapping[str, Any]) -> object:
    settings = settings_of(config)
    found = settings.get("num_key_value_heads")
    return found if found is not None else settings.get("num_attention_heads")


def _head_dim(config: Mapping[str, Any]) -> object:
    settings = settings_of(config)
    if settings.get("head_dim") is not None:
        return settings["head_dim"]
    size, heads = settings.get("hidden_size"), settings.get("num_attention_heads")
    return size // heads if size and heads else None


def _rope(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` as transformers 5 writes them, or the older `rope_scaling`, without their defaults."""
    found = settings.get("rope_parameters") or settings.get("rope_scaling")
    return dict(found) if isinstance(found, Mapping) else {}


def _rope_theta(settings: Mapping[str, Any]) -> object:
    theta = _rope(settings).get("rope_theta", settings.get("rope_theta"))
    return float(theta) if theta is not None else _THETA


def _rope_scaling(settings: Mapping[str, Any]) -> object:
    rope = {key: value for key, value in _rope(settings).items() if key not in ("rope_theta", "type")}
    kind = rope.pop("rope_type", _rope(settings).get("type", "default"))
    return {"rope_type": kind, **{key: value for key, value in sorted(rope.items()) if value is not None}}


def _sliding_window(settings: Mapping[str, Any]) -> object:
    window = settings.get("sliding_window") if settings.get("use_sliding_window", True) else None
    return window if window is not None else "off"


def _off_if_absent(key: str) -> Callable[[Mapping[str, Any]], object]:
    def read(settings: Mapping[str, Any]) -> object:
        value = settings.get(key)
        return value if value is not None else "off"

    return read


def _method(member: Member) -> str:
    settings = member.config["quantization_config"]
    return str(settings.get("quant_method", "of an unknown method")) if isinstance(settings, Mapping) else "unknown"
