"""Our adapter and lm-eval's own HFLM, side by side on one model: the same prompts, answers and metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.config import EvaluationConfig
from bai_sweep.evaluation._surroundings import eval_mode, own_randomness, quiet


@pytest.mark.parametrize("chat", [False, True])
def test_results_equal_hflms(
    chat: bool,
    tasks: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    configure: Callable[..., EvaluationConfig],
) -> None:
    """Log-likelihoods, rolling log-likelihoods and greedy responses, 0 and 2 shots, with contexts that overflow."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from bai_sweep.evaluation._adapter import ActorLM

    def run(lm: Any) -> dict[str, Any]:
        loaded = TaskManager(include_path=str(tasks), include_defaults=False).load(["mc", "gen", "rolling"])
        for task in loaded["tasks"].values():
            task.set_config("num_fewshot", 2 if chat else 0)
            task.set_fewshot_seed(0)
        results: dict[str, Any] = evaluate(lm, loaded, bootstrap_iters=0, apply_chat_template=chat)
        return results

    with own_randomness(), quiet(), eval_mode(model):
        ours = run(ActorLM(model, tokenizer, configure(), None, lambda done, total: None))
        theirs = run(HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=48))

    for task in ("mc", "gen", "rolling"):
        for mine, other in zip(ours["samples"][task], theirs["samples"][task], strict=True):
            assert mine["arguments"] == other["arguments"]
    assert [s["resps"] for s in ours["samples"]["gen"]] == [s["resps"] for s in theirs["samples"]["gen"]]
    assert logprobs(ours) == pytest.approx(logprobs(theirs), abs=1e-3)  # of sums near -300 in float32
    assert ours["results"]["mc"] == theirs["results"]["mc"]
    assert ours["results"]["gen"] == theirs["results"]["gen"]
    perplexity = ours["results"]["rolling"]["word_perplexity,none"]
    assert perplexity == pytest.approx(theirs["results"]["rolling"]["word_perplexity,none"], rel=1e-5)

    responses = {s["resps"][0][0] for s in ours["samples"]["gen"]}
    assert len(responses) > 15  # the comparison has something to compare
    assert 0.0 < ours["results"]["mc"]["acc,none"] < 1.0


def logprobs(results: dict[str, Any]) -> list[float]:
    return [value for s in results["samples"]["mc"] for ((value, _),) in s["resps"]]
