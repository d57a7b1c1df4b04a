"""What the names of tensors say, over the architectures; and which classes tie when a configuration is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from bai_sweep.merging._plan import plan_merge
from bai_sweep.merging.compatibility import part_of
from bai_sweep.merging.inputs import Settings
from tests.tiny import save_tiny_model
from tests.unit.merging.plan_helpers import member


@pytest.mark.parametrize(
    ("name", "part"),
    [
        # Falcon of 40 billion parameters has two norms a layer
        ("transformer.h.0.ln_attn.weight", "norms"),
        ("transformer.h.0.ln_mlp.bias", "norms"),
        ("transformer.h.0.ln_1.weight", "norms"),
        ("transformer.ln_f.weight", "norms"),
        ("visual.merger.ln_q.weight", "norms"),
        ("model.layers.0.self_attn.q_norm.weight", "norms"),
        ("model.layers.0.pre_feedforward_layernorm.weight", "norms"),
        ("model.layers.0.self_attn.q_layernorm.norms.0.weight", "norms"),
        # DBRX keeps its attention beside its norms
        ("transformer.blocks.0.norm_attn_norm.attn.Wqkv.weight", "attention"),
        ("transformer.blocks.0.norm_attn_norm.norm_1.weight", "norms"),
        # Granite's shared experts, Llama's vision layers
        ("model.layers.0.shared_mlp.input_linear.weight", "mlp"),
        ("model.layers.3.cross_attn.q_proj.weight", "attention"),
        ("model.layers.3.cross_attn.q_norm.weight", "norms"),
    ],
)
def test_a_tensor_s_part_is_told_by_its_name(name: str, part: str) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize(
    "kind", ["lfm2_moe", "recurrent_gemma", "vaultgemma", "ernie4_5", "zamba2", "smollm3", "gpt2"]
)
def test_a_silent_configuration_of_a_class_that_ties_says_the_same_whether_the_model_is_read_or_not(
    tmp_path: Path, kind: str
) -> None:
    silent = {"model_type": kind, "tie_word_embeddings": "left out"}
    folders = {name: save_tiny_model(tmp_path / name, seed) for seed, name in enumerate(("base", "tuned"))}
    for folder in folders.values():
        config = (folder / "config.json").read_text(encoding="utf-8")
        assert '"tie_word_embeddings": true,' in config
        config = config.replace('"tie_word_embeddings": true,', "").replace('"llama"', f'"{kind}"')
        (folder / "config.json").write_text(config, encoding="utf-8")
    members = {name: member(name, folder, **silent) for name, folder in folders.items()}

    for read in (("base", "tuned"), ("tuned",)):
        plan = plan_merge(
            {
                name: model if name in read else Settings(model.source, model.folder, model.config)
                for name, model in members.items()
            },
            tokenizer="base",
            vocabulary="union",
            missing_tokens="mean",
        )
        assert plan.tied
        assert not any("unties" in doubt for doubt in plan.doubts)
