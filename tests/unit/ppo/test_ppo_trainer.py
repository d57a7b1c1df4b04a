"""PPOTrainer: what it takes, what it tells, what it keeps, and what it refuses before the first rollout."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainerState,
)
from trl import rewards as trl_rewards

from bai_sweep.generation import sample
from bai_sweep.ppo import DivergenceError, PPOConfig, PPOTrainer
from bai_sweep.ppo._events import Events
from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.ppo.rollouts import HFEngine
from bai_sweep.records import UserError
from tests.unit.ppo import rewards

Make = Callable[..., Any]
ROWS = [{"prompt": " ".join("abcdefg"[i : i + 2]), "answer": i} for i in range(6)]
CHATS = [{"prompt": [{"role": "user", "content": row["prompt"]}], "solution": "$1$"} for row in ROWS]


def config(output_dir: Path | None = None, **changes: Any) -> PPOConfig:
    small = {
        "steps": 2,
        "batch_size": 4,
        "minibatch_size": 2,
        "max_new_tokens": 8,
        "actor_learning_rate": 1e-2,
        "critic_learning_rate": 1e-2,
        "precision": "fp32",
        "device": "cpu",
    }
    return PPOConfig(output_dir, **(small | changes))


@pytest.fixture
def trainer(make_model: Make, tokenizer: PreTrainedTokenizerFast) -> Callable[..., PPOTrainer]:
    def make(
        reward_funcs: Any = rewards.share_of_a,
        model: Any = None,
        args: PPOConfig | None = None,
        train_dataset: Any = ROWS,
        **more: Any,
    ) -> PPOTrainer:
        processing_class = more.pop("processing_class", tokenizer)
        return PPOTrainer(
            make_model() if model is None else model,
            reward_funcs,
            args or config(),
            train_dataset,
            processing_class,
            **more,
        )

    return make


@pytest.fixture
def folder(tmp_path: Path, make_model: Make, tokenizer: PreTrainedTokenizerFast) -> str:
    """A causal language model and its tokenizer as a Hugging Face folder."""
    make_model().save_pretrained(tmp_path / "actor")
    tokenizer.save_pretrained(tmp_path / "actor")
    return str(tmp_path / "actor")


def figures(trainer: PPOTrainer, **how: Any) -> list[dict[str, float]]:
    return [reproducible(record.metrics) for record in trainer.train(**how)]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# What it takes


def test_a_folder_and_a_model_train_alike(trainer: Make, make_model: Make, folder: str) -> None:
    model = make_model()
    ours = trainer(model=model)
    by_path = trainer(model=folder, processing_class=None)
    assert figures(ours) == figures(by_path)
    assert ours.model is model
    assert same_weights(model, by_path.model)
    assert not same_weights(model, make_model())


def test_a_second_trainer_of_a_checkpointed_model_measures_from_a_reference_of_its_own(
    trainer: Make, make_model: Make
) -> None:
    found = {}
    for checkpointing in (False, True):
        model, settings = make_model(), config(gradient_checkpointing=checkpointing)
        trainer(model=model, args=settings).train()
        assert not any("forward" in layer.__dict__ for layer in model.model.layers)
        found[checkpointing] = [record.metrics for record in trainer(model=model, args=settings).train()]
    for name in ("objective/kl", "loss/value_avg", "objective/entropy"):
        plain, recomputed = ([metrics[name] for metrics in found[on]] for on in (False, True))
        assert recomputed == pytest.approx(plain, rel=1e-4, abs=1e-7), name
    assert abs(found[False][-1]["objective/kl"]) > 1e-4


@pytest.mark.parametrize(("error", "refused"), [(0.02, True), (0.005, False)])
def test_a_sampler_that_is_not_the_actor_is_told_from_its_logprobs(
    trainer: Make, monkeypatch: pytest.MonkeyPatch, error: float, refused: bool
) -> None:
    generate = HFEngine.generate

    def shifted(self: HFEngine, *args: Any) -> Any:
        samples = generate(self, *args)
        return dataclasses.replace(samples, logprobs=samples.logprobs - error)

    monkeypatch.setattr(HFEngine, "generate", shifted)
    if not refused:
        assert len(trainer().train()) == 2
        return
    with pytest.raises(UserError, match=r"less than 0.01 on average; those of LlamaForCausalLM differ by 0.0200"):
        trainer().train()
    assert len(trainer(args=config(precision="bf16")).train()) == 2


def test_a_dataset_and_rows_train_alike(trainer: Make) -> None:
    assert figures(trainer()) == figures(trainer(train_dataset=Dataset.from_list(ROWS)))


def test_equal_seeds_equal_runs(trainer: Make) -> None:
    one, again, other = (figures(trainer(args=config(seed=seed))) for seed in (1, 1, 2))
    assert one == again != other


def test_global_random_state_is_left_alone(trainer: Make, make_model: Make) -> None:
    model = make_model()
    before = torch.get_rng_state()
    trainer(model=model).train()
    assert torch.equal(before, torch.get_rng_state())


def test_columns_and_state_reach_reward_functions(trainer: Make) -> None:
    rewards.calls.clear()
    trainer(rewards.recording, train_dataset=Dataset.from_list(ROWS)).train()
    assert len(rewards.calls) == 2
    answers = {row["prompt"]: row["answer"] for row in ROWS}
    for call in rewards.calls:
        assert [answers[prompt] for prompt in call["prompts"]] == call["answer"]
        assert call["trainer_state"].max_steps == 2


def test_reward_functions_see_the_steps_that_are_done(trainer: Make) -> None:
    seen = []

    async def watching(completions: Any, trainer_state: Any, log_metric: Any, **_: Any) -> list[float]:
        await asyncio.sleep(0)
        seen.append((trainer_state.global_step, len(trainer_state.log_history)))
        log_metric("my/figure", 3)
        return [0.0] * len(completions)

    telemetry = trainer([watching, rewards.share_of_a], reward_weights=[1.0, 0.5]).train()
    assert seen == [(0, 0), (1, 1)]
    for record in telemetry:
        assert record.metrics["my/figure"] == 3.0
        half = 0.5 * record.metrics["rewards/share_of_a/mean"]
        assert record.metrics["objective/scores"] == pytest.approx(half, abs=1e-7)


TRL_REWARDS = {
    "accuracy_reward": trl_rewards.accuracy_reward,
    "reasoning_accuracy_reward": trl_rewards.reasoning_accuracy_reward,
    "think_format_reward": trl_rewards.think_format_reward,
    "cosine_scaled_reward": trl_rewards.get_cosine_scaled_reward(max_len=8),
    "repetition_penalty_reward": trl_rewards.get_repetition_penalty_reward(ngram_size=1),
    "soft_overlong_punishment_reward": trl_rewards.get_soft_overlong_punishment(8, 4),
}


def test_all_of_trls_rewards_run_as_they_are(trainer: Make) -> None:
    """Also: every one that TRL has is here."""
    there = {n.removeprefix("get_").removesuffix("_punishment") for n in dir(trl_rewards) if n[0] != "_"}
    known = {n.removesuffix("_reward").removesuffix("_punishment") for n in TRL_REWARDS}
    assert {n.removesuffix("_reward") for n in there if "reward" in n or "overlong" in n} - {
        "accuracy_rewards",
        "format_rewards",
        "other_rewards",
    } <= known
    made = trainer(list(TRL_REWARDS.values()), train_dataset=CHATS)
    given = {}
    for name, source in made._training.rewards.sources.items():
        given[name] = source
    assert list(given) == list(TRL_REWARDS)
    for record in made.train():
        for name in TRL_REWARDS:
            assert -1.0 <= record.metrics[f"rewards/{name}/mean"] <= 1.0
        assert record.metrics["rewards/think_format_reward/mean"] == 0.0
    repetition = [record.metrics["rewards/repetition_penalty_reward/mean"] for record in made._training.done]
    assert min(repetition) < 0.0


def test_reward_models_by_path_and_as_objects(trainer: Make, reward_model: str) -> None:
    model = LlamaForSequenceClassification.from_pretrained(reward_model)
    by_path, as_object = trainer(reward_model, train_dataset=CHATS), trainer(model, train_dataset=CHATS)
    assert figures(by_path) == figures(as_object)


def test_a_critic_of_a_value_model(trainer: Make, reward_model: str) -> None:
    """A path, an object, and the settings' critic are the same; a new one begins with values of 0."""
    model = LlamaForSequenceClassification.from_pretrained(reward_model)
    by_path, as_object = trainer(value_model=reward_model), trainer(value_model=model)
    configured = trainer(args=config(critic=reward_model))
    runs = [figures(made) for made in (by_path, as_object, configured, trainer())]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0]["critic/vf_explained_var"] != runs[3][0]["critic/vf_explained_var"]
    assert not same_weights(model, LlamaForSequenceClassification.from_pretrained(reward_model))


def test_a_reward_model_does_not_learn_with_the_critic(trainer: Make, reward_model: str) -> None:
    model = LlamaForSequenceClassification.from_pretrained(reward_model)
    made = trainer(model, value_model=model)
    made.train()
    assert same_weights(model, LlamaForSequenceClassification.from_pretrained(reward_model))
    assert not same_weights(made.networks.critic.backbone, model.base_model)


def test_a_reference_of_its_own(trainer: Make, make_model: Make, folder: str) -> None:
    itself, other = trainer(ref_model=folder).train(), trainer(ref_model=make_model(seed=9)).train()
    assert itself[0].metrics["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    assert other[0].metrics["objective/kl_k3"] > 0.1


def test_probes_report_the_kl_to_other_policies(trainer: Make, make_model: Make, folder: str) -> None:
    telemetry = trainer(probes={"start": folder, "other": make_model(seed=9)}).train()
    assert telemetry[0].metrics["objective/kl_to/start"] == pytest.approx(0.0, abs=1e-5)
    assert telemetry[1].metrics["objective/kl_to/start"] == pytest.approx(
        telemetry[1].metrics["objective/kl"], abs=1e-5
    )
    assert abs(telemetry[0].metrics["objective/kl_to/other"]) > 0.01


def test_lora_trains_and_saves_an_adapter(trainer: Make, make_model: Make, tmp_path: Path) -> None:
    base = make_model()
    before = copy.deepcopy(base)
    made = trainer(model=base, peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    made.train()
    assert isinstance(made.model, PeftModel)
    made.save_model(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    ids = torch.tensor([[8, 9, 10]])
    trained = made.model(ids).logits
    loaded = PeftModel.from_pretrained(copy.deepcopy(before), tmp_path / "adapter").eval()
    assert torch.allclose(loaded(ids).logits, trained, atol=1e-6)
    with made.model.disable_adapter():
        assert torch.allclose(made.model(ids).logits, before(ids).logits, atol=1e-6)
    assert not torch.allclose(trained, before(ids).logits, atol=1e-3)


def test_a_peft_model_goes_on_with_its_adapter(trainer: Make, make_model: Make) -> None:
    adapted = get_peft_model(make_model(), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    made = trainer(model=adapted)
    made.train()
    assert made.model is adapted


def test_what_is_saved_can_be_loaded(trainer: Make, tmp_path: Path) -> None:
    made = trainer()
    made.train()
    made.save_model(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert same_weights(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32), made.model)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "<eos>"


# Callbacks


class Recorder(TrainerCallback):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.heard.append(("train_begin", state.global_step, state.max_steps, state.is_world_process_zero))
        self.model, self.args = more["model"], args

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.heard.append(("step_begin", state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.heard.append(("step_end", state.global_step))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.heard.append(("log", state.global_step, logs["episode"]))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.heard.append(("save", state.global_step))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.heard.append(("train_end", state.global_step))


def test_callbacks_hear_the_run(trainer: Make, tmp_path: Path) -> None:
    recorder = Recorder()
    made = trainer(callbacks=[recorder, TrainerCallback], args=config(tmp_path, checkpoint_steps=2))
    telemetry = made.train()
    assert recorder.heard == [
        ("train_begin", 0, 2, True),
        ("step_begin", 0),
        ("step_end", 1),
        ("log", 1, 4.0),
        ("step_begin", 1),
        ("step_end", 2),
        ("log", 2, 8.0),
        ("save", 2),
        ("train_end", 2),
    ]
    assert recorder.model is made.model
    assert recorder.args is made.args
    history = made._events.state.log_history
    assert history == [{**record.metrics, "step": record.step} for record in telemetry]


def test_a_callback_stops_and_saves(trainer: Make, tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 1
            control.should_training_stop = state.global_step == 2
            return control

    recorder = Recorder()
    made = trainer(callbacks=[Stop, recorder], args=config(tmp_path, steps=5, checkpoint_steps=0))
    assert len(made.train()) == 2
    assert [event for event in recorder.heard if event[0] in {"save", "train_end"}] == [("save", 1), ("train_end", 2)]
    resumed = trainer(args=config(tmp_path, steps=5, checkpoint_steps=0))
    assert [record.step for record in resumed.train(resume_from_checkpoint=True)] == [1, 2, 3, 4, 5]


def test_a_checkpoint_that_could_not_be_written_is_not_heard_of(trainer: Make, tmp_path: Path) -> None:
    place = tmp_path / "checkpoints"
    place.write_text("no folder")

    class Repair(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:
                place.unlink()

    recorder = Recorder()
    trainer(callbacks=[Repair, recorder], args=config(tmp_path, steps=4, checkpoint_steps=2)).train()
    assert [event for event in recorder.heard if event[0] == "save"] == [("save", 4)]
    trainer(callbacks=[recorder], args=config(tmp_path, steps=4)).train(resume_from_checkpoint=True)
    assert recorder.heard[-2] == ("train_begin", 4, 4, True)


def test_what_is_no_callback(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match="TrainerCallback objects or classes; got <function"):
        Events([rewards.words], None, None, tokenizer, TrainerState())


# Going on


def test_a_run_goes_on_where_it_stopped(trainer: Make, tmp_path: Path) -> None:
    whole = figures(trainer(args=config(steps=4)))
    first = trainer(args=config(tmp_path / "run", steps=4, checkpoint_steps=2))
    steps = first.steps()
    for _ in range(3):
        next(steps)
    steps.close()
    recorder = Recorder()
    again = trainer(args=config(tmp_path / "run", steps=4, checkpoint_steps=2), callbacks=[recorder])
    assert figures(again, resume_from_checkpoint=True) == whole
    assert recorder.heard[:2] == [("train_begin", 2, 4, True), ("step_begin", 2)]
    elsewhere = trainer(args=config(tmp_path / "other", steps=4))
    assert figures(elsewhere, resume_from_checkpoint=str(tmp_path / "run")) == whole


def test_nothing_to_go_on_from(trainer: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"goes on in args.output_dir; it is None"):
        trainer().train(resume_from_checkpoint=True)
    with pytest.raises(UserError, match="a run with checkpoints; '/no/such' has none"):
        trainer().train(resume_from_checkpoint="/no/such")
    assert len(trainer(args=config(tmp_path)).train(resume_from_checkpoint=True)) == 2


# What it refuses


def no_rollout(**_: Any) -> list[float]:
    raise AssertionError("a rollout was made")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (None, "a datasets.Dataset or a list of rows; got NoneType"),
        ("train.jsonl", "a datasets.Dataset or a list of rows; got str"),
        ([], "train_dataset has prompts; this one is empty"),
        (Dataset.from_list([]), "train_dataset has prompts; this one is empty"),
        (["a", "b"], "a column `prompt`, text or conversations; this one has str; rename it"),
        (Dataset.from_list([{"question": "a", "answer": 1}]), "this one has question, answer; rename it"),
        (DatasetDict(train=Dataset.from_list(ROWS)), r"one split; got train; pass dataset\['train'\]"),
        (
            IterableDataset.from_generator(lambda: iter(ROWS)),
            r"got a stream; .*stream.take\(10_000\)",
        ),
        ([{"prompt": "a " * 2000}], r"a prompt has 1 to 1024 tokens \(max_prompt_tokens\); prompt 0 has 2000"),
        ([{"prompt": ""}], "prompt 0 has 0; raise the limit or drop such rows"),
        ([{"prompt": "a " * 60}], "fit in the model's 64 positions; the longest prompt and .*max_new_tokens make 68"),
        ([{"prompt": "a", "trainer_state": 1}], "the dataset has a column trainer_state; rename or remove it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_datasets(trainer: Make, dataset: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        trainer(no_rollout, train_dataset=dataset)


def test_bad_tokenizers(trainer: Make, make_model: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    without_template, without_eos, larger = (copy.deepcopy(tokenizer) for _ in range(3))
    without_template.chat_template = None
    with pytest.raises(UserError, match="conversations need a chat template; this tokenizer has none"):
        trainer(no_rollout, processing_class=without_template, train_dataset=CHATS)
    without_eos.eos_token = None
    with pytest.raises(UserError, match="where a completion ends; this tokenizer has no EOS token; set eos_token"):
        trainer(no_rollout, processing_class=without_eos)
    larger.add_tokens(["new"])
    with pytest.raises(UserError, match="has 23 tokens and the model embeddings for 22; use the model's own"):
        trainer(no_rollout, processing_class=larger)
    with pytest.raises(UserError, match="where the model has a folder or a hub id; no such folder: ''"):
        trainer(no_rollout, processing_class=None)


def test_bad_models(trainer: Make, make_model: Make, reward_model: str) -> None:
    with pytest.raises(UserError, match=r"model is a causal language model, or where one is; no such folder"):
        trainer(no_rollout, model="./none")
    other = LlamaForSequenceClassification.from_pretrained(reward_model)
    other.resize_token_embeddings(10)
    with pytest.raises(UserError, match="value_model knows 10 and the actor 22; use one of the actor's family"):
        trainer(no_rollout, value_model=other)
    with pytest.raises(UserError, match="head `score` has one output; got LlamaForCausalLM without `score`"):
        trainer(no_rollout, value_model=make_model())
    model = make_model()
    with pytest.raises(UserError, match="ref_model stays as it is while model learns; these share weights"):
        trainer(no_rollout, model=model, ref_model=model)


def test_bad_settings(trainer: Make) -> None:
    with pytest.raises(UserError, match="start your script with `accelerate launch --num_processes 2`"):
        trainer(no_rollout, args=config(num_processes=2))
    with pytest.raises(UserError, match=r"one weight for each of words; got \[1.0, 2.0\]"):
        trainer(rewards.words, reward_weights=[1.0, 2.0])
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device=cuda: torch finds 0 of this kind here"):
            trainer(no_rollout, args=config(device="cuda"))


def test_bad_reward_functions(trainer: Make) -> None:
    def picky(completions: Any) -> list[float]:
        return []

    with pytest.raises(UserError, match="'picky' does not take prompts, completion_ids, answer"):
        trainer(picky)
    with pytest.raises(UserError, match=r"columns \(answer\).*'accuracy_reward' needs solution too"):
        trainer(trl_rewards.accuracy_reward)
    with pytest.raises(UserError, match="'one_short' returns a list of 4 rewards; step 1: it returned 3 values"):
        trainer(rewards.one_short).train()
    with pytest.raises(UserError, match=r"'no_rollout' failed at step 1 .*AssertionError: a rollout was made"):
        trainer(no_rollout).train()


def test_a_divergence_leaves_the_batch(trainer: Make, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=f"step 1, completion 3: nan.*the batch is in {tmp_path}"):
        trainer(rewards.not_a_number, args=config(tmp_path)).train()
    assert len((tmp_path / "divergence-step-1" / "batch.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_vllm_takes_the_samplers_place(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the actor, the settings and every end of a completion; asked to synchronise, and closed at the end."""
    made = []

    class Engine:
        def __init__(
            self, actor: Any, tokenizer: Any, accelerator: Any, settings: Any, *, eos_token_ids: Any, **more: Any
        ) -> None:
            self.inner = HFEngine(actor, eos_token_ids=eos_token_ids, **more)
            self.given, self.calls = (settings.timeout, tuple(eos_token_ids), accelerator.process_index), []
            made.append(self)

        def sync(self) -> None:
            self.calls.append("sync")

        def generate(self, *given: Any) -> Any:
            self.calls.append("generate")
            return self.inner.generate(*given)

        def close(self) -> None:
            self.calls.append("close")

    monkeypatch.setattr("bai_sweep.ppo.rollouts._vllm.VLLMEngine", Engine)
    monkeypatch.setattr("bai_sweep.ppo._trainer.check_engine", lambda *_: None)  # there is no GPU
    assert figures(trainer(args=config(engine="vllm", vllm={"timeout": 7}))) == figures(trainer())
    assert made[0].given == (7.0, (1,), 0)
    assert made[0].calls == ["sync", "generate", "sync", "generate", "close"]


def test_a_static_cache_gives_the_same_run(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def watched(*given: Any, static_cache: bool, **more: Any) -> Any:
        asked.append(static_cache)
        return sample(*given, static_cache=static_cache, **more)

    monkeypatch.setattr("bai_sweep.ppo.rollouts._engine.sample", watched)
    grown, fixed = figures(trainer()), figures(trainer(args=config(static_cache=True)))
    assert asked == [False, False, True, True]
    assert [run["completions/mean_length"] for run in grown] == [run["completions/mean_length"] for run in fixed]
    assert grown[0]["objective/entropy"] == pytest.approx(fixed[0]["objective/entropy"], abs=1e-4)


def test_a_model_that_cannot_have_a_static_cache(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("leave static_cache out")

    monkeypatch.setattr("bai_sweep.ppo.rollouts._engine.sample", refuse)
    with pytest.raises(UserError, match="needs a model that can have one; leave static_cache out"):
        trainer(args=config(static_cache=True)).train()
    with pytest.raises(ValueError, match="leave static_cache out"):
        trainer().train()


def test_the_default_arguments_are_a_config(make_model: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match="positions; the longest prompt"):  # 3072 new tokens do not fit the tiny model
        PPOTrainer(make_model(), rewards.share_of_a, train_dataset=ROWS, processing_class=tokenizer)


def test_a_model_of_more_positions_trains_with_long_prompts(trainer: Make, make_model: Make) -> None:
    model: LlamaForCausalLM = make_model(max_position_embeddings=68)
    rows = [{"prompt": "a " * 60}]
    assert len(trainer(model=model, train_dataset=rows).train()) == 2
