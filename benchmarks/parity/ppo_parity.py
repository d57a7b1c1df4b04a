"""PPO of ours and of TRL 1.12 on the same fixed batch: advantages, returns, losses, gradients, weights.

Both trainers take one step with several epochs from the same weights (float64; our log-probabilities and values are
cast to float32) on the same prompts, responses and scores, with the settings that both have. What differs by design
stands in `differences` of the output, ppo_trl.json beside this file.

    python benchmarks/parity/ppo_parity.py
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]

import torch  # noqa: E402
from common import OURS, peer_python, peer_versions, version  # noqa: E402
from random_models import EOS, PAD, make_tokenizer  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from bai_sweep.generation import Samples  # noqa: E402
from bai_sweep.ppo import PPOConfig, PPOTrainer  # noqa: E402
from bai_sweep.ppo.formulas import aggregation_weights, generalized_advantages, value_loss, whiten  # noqa: E402  # noqa: E402

TRL = ["torch==2.13.0", "transformers==5.23.0", "trl==1.12.0"]
TOLERANCE = 1e-5
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "bos_token_id": None,
}
ROWS, NEW = 12, 10
SHARED: dict[str, Any] = {
    "ppo_epochs": 4,
    "temperature": 0.8,
    "learning_rate": 5e-4,
    "kl_coef": 0.1,
    "clip_range": 0.2,
    "clip_range_value": 0.2,
}
CASES: dict[str, dict[str, Any]] = {
    "full length, k1": {"gamma": 0.97, "gae_lambda": 0.9, "kl_estimator": "k1", "ragged": False},
    "full length, k3": {"gamma": 1.0, "gae_lambda": 0.95, "kl_estimator": "k3", "ragged": False},
    "ending at EOS, gamma = lambda = 1": {"gamma": 1.0, "gae_lambda": 1.0, "kl_estimator": "k1", "ragged": True},
    "ending at EOS, lambda < 1": {"gamma": 0.97, "gae_lambda": 0.9, "kl_estimator": "k1", "ragged": True},
}
DIFFERENCES = [
    "After an EOS, TRL 1.12 has one state more (padding_mask_p1): it predicts a value for it, pays the score there, "
    "and its value loss has it among its tokens. Ours pays the score on the EOS itself. With gamma = lambda = 1 the "
    "sum telescopes, and advantages, returns and the policy loss are the same; otherwise they are not, and the value "
    "loss never is. For such a batch our functions are compared on TRL's own rewards, values and masks instead.",
    "TRL's policy/approxkl_avg and val/ratio average over padding too; they are compared where there is none.",
    "TRL adds 1e-7 to the temperature.",
    "TRL takes one optimizer step an epoch, whatever num_mini_batches is (accelerate accumulates over all of them); "
    "the cases here have one minibatch.",
    "TRL does not clip gradients; ours has max_grad_norm set out of reach here.",
]


def write_models(folder: Path) -> dict[str, str]:
    """Policy, reference, value and reward model, all different."""
    places = {}
    for seed, (name, kind) in enumerate(
        {
            "policy": LlamaForCausalLM,
            "reference": LlamaForCausalLM,
            "value": LlamaForSequenceClassification,
            "reward": LlamaForSequenceClassification,
        }.items()
    ):
        torch.manual_seed(seed)
        places[name] = str(folder / name)
        kind(LlamaConfig(**SHAPE, **({"num_labels": 1} if "Seq" in kind.__name__ else {}))).save_pretrained(
            places[name]
        )
        make_tokenizer(SHAPE["vocab_size"]).save_pretrained(places[name])
    near_the_policy(places)
    return places


def near_the_policy(places: dict[str, str]) -> None:
    """Makes the reference the policy with a tenth of itself changed, so that the KL is of a usual size."""
    policy, other = (AutoModelForCausalLM.from_pretrained(places[name]) for name in ("policy", "reference"))
    with torch.no_grad():
        for weight, noise in zip(policy.parameters(), other.parameters(), strict=True):
            weight.lerp_(noise, 0.1)
    policy.save_pretrained(places["reference"])


def fixed_batch(*, ragged: bool) -> dict[str, Any]:
    """Prompts of several lengths; responses of full length, or ending at EOS and then padded."""
    rng = random.Random(7)

    def words(n: int) -> list[int]:
        return [rng.randrange(3, SHAPE["vocab_size"]) for _ in range(n)]

    responses = []
    for row in range(ROWS):
        length = rng.randrange(1, NEW) if ragged and row % 4 else NEW
        ended = words(length - 1) + [EOS] + [PAD] * (NEW - length)
        responses.append(ended if length < NEW else words(NEW))
    return {"prompts": [words(rng.randrange(2, 8)) for _ in range(ROWS)], "responses": responses}


class FixedEngine:
    """Gives the responses of the case as a sampler would."""

    def __init__(self, responses: list[list[int]]) -> None:
        self.tokens = torch.tensor(responses)

    def sync(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held."""

    def generate(self, *_: Any) -> Samples:
        """The same every time."""
        ended = (self.tokens == EOS).any(dim=1)
        lengths = torch.where(ended, (self.tokens == EOS).int().argmax(dim=1) + 1, self.tokens.shape[1])
        return Samples(self.tokens, torch.zeros(self.tokens.shape), lengths, ended)


def run_theirs(python: Path, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """TRL's step."""
    path = folder / "case.json"
    path.write_text(json.dumps(case))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    subprocess.run([python, HERE / "trl_side.py", path], check=True, env=environment, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = torch.load(path.with_suffix(".pt"), weights_only=False)
    return found


def run_ours(case: dict[str, Any], scores: list[float]) -> dict[str, Any]:
    """Our step on the same batch, paid with the same scores."""
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(case[name], dtype=torch.float64) for name in ("policy", "reference")
    )
    value = AutoModelForSequenceClassification.from_pretrained(case["value"], num_labels=1, dtype=torch.float64)
    texts = [" ".join(f"w{i}" for i in prompt) + " " for prompt in case["prompts"]]
    paid = dict(zip(texts, scores, strict=True))

    def reward(prompts: list[str], **_: Any) -> list[float]:
        return [paid[prompt] for prompt in prompts]

    args = PPOConfig(
        steps=1,
        batch_size=ROWS,
        minibatch_size=ROWS,
        ppo_epochs=case["ppo_epochs"],
        max_new_tokens=NEW,
        temperature=case["temperature"],
        actor_learning_rate=case["learning_rate"],
        critic_learning_rate=case["learning_rate"],
        adam_betas=(0.9, 0.999),
        weight_decay=0.0,
        max_grad_norm=1e9,
        kl_coef=case["kl_coef"],
        kl_estimator=case["kl_estimator"],
        gamma=case["gamma"],
        gae_lambda=case["gae_lambda"],
        clip_range_low=case["clip_range"],
        clip_range_high=case["clip_range"],
        clip_range_value=case["clip_range_value"],
        precision="fp32",
        device="cpu",
    )
    tokenizer = make_tokenizer(SHAPE["vocab_size"])
    rows = [{"prompt": text} for text in texts]
    trainer = PPOTrainer(policy, reward, args, rows, tokenizer, value_model=value, ref_model=reference)
    return drive(trainer, case, policy)


def drive(trainer: PPOTrainer, case: dict[str, Any], policy: torch.nn.Module) -> dict[str, Any]:
    """Takes the step with fixed responses, and looks at what the optimizer sees."""
    training = trainer._training
    order = [case["prompts"].index(ids) for ids in training.batches[0].token_ids]
    training.engine = FixedEngine([case["responses"][i] for i in order])
    updater, seen, gradients = training.updater, {}, []
    update, step, module = updater.update, updater.optimizer.step, training.networks.module

    def updated(experience: Any, **given: Any) -> Any:
        seen["experience"] = experience
        return update(experience, **given)

    def stepped(*given: Any) -> Any:
        gradients.append({n: p.grad.detach().clone() for n, p in module.named_parameters() if p.grad is not None})
        losses.append({k: float(v) for k, v in seen.pop("figures").items()})
        return step(*given)

    losses: list[dict[str, float]] = []
    one = updater._losses

    def figured(*given: Any, **named: Any) -> Any:
        seen["figures"] = one(*given, **named)
        return seen["figures"]

    updater.update, updater.optimizer.step, updater._losses = updated, stepped, figured  # type: ignore[method-assign]
    (record,) = trainer.train()
    back = torch.tensor(order).argsort()
    experience = seen["experience"]
    return {
        "advantages": experience.advantages[back],
        "returns": experience.returns[back],
        "mask": experience.rollout.mask[back],
        "logprobs": experience.judgement.logprobs[back],
        "reference": experience.judgement.reference[back],
        "values": experience.judgement.values[back],
        "losses": losses,
        "gradients": gradients,
        "policy": policy.state_dict(),
        "value": {**{f"model.{n}": w for n, w in training.networks.critic.backbone.state_dict().items()}}
        | {"score.weight": training.networks.critic.head.weight},
        "metrics": record.metrics,
    }


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest absolute difference."""
    return float((ours.double() - theirs.double()).abs().max()) if ours.numel() else 0.0


def gradients_apart(ours: dict[str, Any], theirs: dict[str, Any], part: str) -> float:
    """Largest difference over all gradients of one network and all epochs."""
    worst = 0.0
    for mine, peer in zip(ours["gradients"], theirs["gradients"], strict=True):
        names = {"actor": ("actor.", "policy."), "critic": ("critic.backbone.", "value_model.model.")}[part]
        pairs = [(g, peer[n.replace(*names, 1)]) for n, g in mine.items() if n.startswith(names[0])]
        if part == "critic":
            pairs.append((mine["critic.head.weight"], peer["value_model.score.weight"]))
        worst = max([worst, *(apart(*pair) for pair in pairs)])
    return worst


def compare(ours: dict[str, Any], theirs: dict[str, Any], *, full: bool, telescopes: bool) -> dict[str, float]:
    """Differences of everything that the two should share in a case."""
    mask = ours["mask"]
    names = {"logprobs": "logprobs", "reference": "ref_logprobs", "values": "values"}
    found = {mine: apart(ours[mine][mask], theirs[peer][mask]) for mine, peer in names.items()}
    if telescopes:
        found |= {name: apart(ours[name][mask], theirs[name][mask]) for name in ("advantages", "returns")}
        found["policy loss, every epoch"] = statistic_apart(ours, theirs, "loss/policy_avg", "pg_loss_stats")
        found["clip fraction, every epoch"] = statistic_apart(ours, theirs, "policy/clipfrac_avg", "pg_clipfrac_stats")
        found["actor gradients, every epoch"] = gradients_apart(ours, theirs, "actor")
        found["actor weights after the step"] = max(apart(w, theirs["policy"][n]) for n, w in ours["policy"].items())
    if full:
        found["value loss, every epoch"] = statistic_apart(ours, theirs, "loss/value_avg", "vf_loss_stats")
        found["approximate KL, every epoch"] = statistic_apart(ours, theirs, "policy/approxkl_avg", "approxkl_stats")
        found["ratio, every epoch"] = statistic_apart(ours, theirs, "val/ratio", "ratio_stats")
        found["critic gradients, every epoch"] = gradients_apart(ours, theirs, "critic")
        found["critic weights after the step"] = max(apart(theirs["value"][n], w) for n, w in ours["value"].items())
    shared = ["objective/scores", *(["objective/kl"] if ours["kl_estimator"] == "k1" else [])]
    found |= {name: abs(ours["metrics"][name] - theirs["metrics"][name]) for name in shared}
    found["objective/non_score_reward"] = abs(
        ours["metrics"]["objective/non_score_reward"] - theirs["metrics"]["objective/non_score_reward"]
    )
    return found


def statistic_apart(ours: dict[str, Any], theirs: dict[str, Any], mine: str, peer: str) -> float:
    """Largest difference of a figure over the epochs."""
    return apart(torch.tensor([line[mine] for line in ours["losses"]]), theirs[peer].flatten())


def functions_on_their_batch(theirs: dict[str, Any], case: dict[str, Any]) -> dict[str, float]:
    """Our advantages, whitening and value loss on TRL's rewards, values and masks, with its state after the EOS."""
    states, tokens = ~theirs["padding_mask_p1"], ~theirs["padding_mask"]
    advantages, returns = generalized_advantages(
        theirs["rewards"], theirs["values"], states, gamma=case["gamma"], gae_lambda=case["gae_lambda"]
    )
    weights = aggregation_weights(states, "token", constant=1)
    loss = value_loss(
        theirs["values"][states],
        theirs["values"][states],
        theirs["returns"][states],
        weights[states],
        clip_range=case["clip_range_value"],
    )
    return {
        "our advantages of TRL's states": apart(whiten(advantages[tokens], "mean_std"), theirs["advantages"][tokens]),
        "our returns of TRL's states": apart(returns[states], theirs["returns"][states]),
        "our value loss of TRL's states": apart(loss, theirs["vf_loss_stats"][0].flatten()),
    }


def main() -> None:
    """Runs all cases, writes the output, and fails where something is further apart than the tolerance."""
    python = peer_python("trl", TRL)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        places = write_models(Path(temporary))
        for name, settings in CASES.items():
            case = {**places, **SHARED, **settings, **fixed_batch(ragged=settings["ragged"])}
            theirs = run_theirs(python, case, Path(temporary))
            ours = run_ours(case, theirs["scores"].tolist()) | {"kl_estimator": case["kl_estimator"]}
            telescopes = not case["ragged"] or case["gamma"] == case["gae_lambda"] == 1.0
            found = compare(ours, theirs, full=not case["ragged"], telescopes=telescopes)
            if case["ragged"]:
                found |= functions_on_their_batch(theirs, case)
            results[name] = {
                "settings": {k: v for k, v in {**SHARED, **settings}.items() if k != "ragged"},
                "clip fraction by epoch (TRL's)": [
                    round(x, 4) for x in theirs["pg_clipfrac_stats"].flatten().tolist()
                ],
                "largest difference": {k: float(f"{v:.2g}") for k, v in found.items()},
            }
    output = {
        "versions": {**{package: version(package) for package in OURS}, **peer_versions(python, ["trl"])},
        "tolerance": TOLERANCE,
        "batch": f"{ROWS} rows, responses of up to {NEW} tokens",
        "cases": results,
        "differences": DIFFERENCES,
    }
    (HERE / "ppo_trl.json").write_text(json.dumps(output, indent=1) + "\n")
    apart_too_far = [
        f"{name}: {what} {value}"
        for name, result in results.items()
        for what, value in result["largest difference"].items()
        if not value <= TOLERANCE
    ]
    print(json.dumps(results, indent=1))
    if apart_too_far:
        sys.exit("further apart than the tolerance: " + "; ".join(apart_too_far))


if __name__ == "__main__":
    main()
