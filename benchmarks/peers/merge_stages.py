"""The merge phase alone, imports done: `merge_stages.py ours|mergekit|live <folder with the models> <out> <threads>`.

Prints seconds; for `live` a JSON object. `ours` and `live` run in our environment, `mergekit` in mergekit's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

NAMES = ("base", "instruct", "distilled")
SFT = {"instruct": 0.5, "distilled": 0.5}
ALPHA = 0.5


def ours(root: Path, out: Path, threads: int) -> str:
    """From checked members to all bytes written; hashing the inputs and the other files are left out."""
    from bai_sweep.merging import open_members, plan_merge
    from bai_sweep.merging._processes import run
    from bai_sweep.merging.methods import Linear
    from bai_sweep.merging.output import FileSink, layout_of

    sources = {name: str(root / name) for name in NAMES}
    with open_members(sources) as members:
        plan = plan_merge(members, tokenizer="base", vocabulary="union", missing_tokens="mean")
        out.mkdir()
        start = time.perf_counter()
        with FileSink(out, layout_of(plan, "BF16", 5 * 10**9), "BF16") as sink:
            run(plan.tensors, plan.values, Linear(ALPHA, SFT), sink, processes=threads)
        return f"{time.perf_counter() - start:.4f}"


def mergekit(root: Path, out: Path, threads: int) -> str:
    """What `mergekit-yaml` calls once it has read its arguments."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(num_threads=threads, quiet=True)
    options.apply_global_options()
    config = MergeConfiguration.model_validate(yaml.safe_load((root / "mergekit.yaml").read_text()))
    start = time.perf_counter()
    run_merge(config, str(out), options=options)
    return f"{time.perf_counter() - start:.4f}"


def live(root: Path, out: Path, threads: int) -> str:
    """A new alpha into live parameters from what a worker holds, against one copy of the parameters in memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from bai_sweep.merging import open_members, plan_merge
    from bai_sweep.merging.live import Stage1

    del out
    torch.set_num_threads(threads)
    found: dict[str, dict[str, float]] = {}
    sources = {name: str(root / name) for name in NAMES}
    with open_members(sources) as members:
        plan = plan_merge(members, tokenizer="base", vocabulary="union", missing_tokens="mean")
        stage1 = Stage1.hold("benchmark", plan.tensors, plan.values, SFT, threads=threads)
        if stage1 is None:
            raise SystemExit("stage 1 cannot be held here")
        for dtype in (torch.float32, torch.bfloat16):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(root / "base"), dtype=dtype)
            parameters = list(model.parameters())
            copies = [torch.zeros_like(p) for p in parameters]
            interpolations, plain = [], []
            for alpha in (0.1, 0.3, 0.5, 0.7, 0.9):
                start = time.perf_counter()
                for copy, parameter in zip(copies, parameters, strict=True):
                    copy.copy_(parameter.detach())
                plain.append(time.perf_counter() - start)
                start = time.perf_counter()
                stage1.interpolate(alpha, model)
                interpolations.append(time.perf_counter() - start)
            found[str(dtype).removeprefix("torch.")] = {
                "interpolation, s": round(min(interpolations), 3),
                "copy of the parameters, s": round(min(plain), 3),
                "ratio": round(min(interpolations) / min(plain), 2),
            }
            del model, parameters, copies
        stage1.close()
    return json.dumps(found)


if __name__ == "__main__":
    stage, folder, target, workers = sys.argv[1:]
    print({"ours": ours, "mergekit": mergekit, "live": live}[stage](Path(folder), Path(target), int(workers)))
