"""Rewards: what functions and models are given, how they are named and summed, and what is refused."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast, TrainerState
from trl.rewards import accuracy_rewards

from bai_sweep.ppo import DivergenceError
from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo.rewards import (
    FunctionReward,
    ModelReward,
    Scored,
    completion_texts,
    configured_rewards,
    make_rewards,
)
from bai_sweep.ppo.rewards._rewards import Completions, RewardTools
from bai_sweep.records import UserError
from tests.unit.ppo import rewards as functions

Make = Callable[..., Any]
CPU = torch.device("cpu")
TEXTS = ["a b", "<think> c </think> a", "b"]
IDS = [[8, 9, 1], [4, 10, 5, 8, 1], [9]]
ENDED = [True, True, False]
TEXT_BATCH = PromptBatch(["c", "d", "e"], [[10], [11], [12]], {"answer": [1, 2, 3]})
CHAT_BATCH = PromptBatch([[{"role": "user", "content": w}] for w in "cde"], [[10], [11], [12]], {"answer": [1, 2, 3]})


def score(rewards: Any, batch: PromptBatch = TEXT_BATCH, **more: Any) -> Scored:
    """Scores three completions in two parts, as two processes would."""
    made = make_rewards(rewards, CPU, **more)
    try:
        parts = [made.give(batch[s], TEXTS[s], IDS[s], ENDED[s], step=4) for s in (slice(0, 2), slice(2, 3))]
        return made.combine(parts, step=4)
    finally:
        made.close()


def whole(rewards: Any, batch: PromptBatch = TEXT_BATCH) -> Scored:
    """Scores them at once."""
    made = make_rewards(rewards, CPU)
    try:
        return made.combine([made.give(batch, TEXTS, IDS, ENDED, step=4)], step=4)
    finally:
        made.close()


def test_functions_get_what_trl_gives() -> None:
    functions.calls.clear()
    whole(functions.recording, TEXT_BATCH)
    whole(functions.recording, CHAT_BATCH)
    text, chat = functions.calls
    assert isinstance(text.pop("trainer_state"), TrainerState)
    assert callable(text.pop("log_extra"))
    assert callable(text.pop("log_metric"))
    assert text == {"prompts": ["c", "d", "e"], "completions": TEXTS, "completion_ids": IDS, "answer": [1, 2, 3]}
    assert chat["prompts"] == CHAT_BATCH.prompts
    assert chat["completions"] == [[{"role": "assistant", "content": t}] for t in TEXTS]


def test_weighted_sum_means_and_deviations() -> None:
    named = {"share": functions.share_of_a, "two": functions.slow_two, "odd": functions.odd_ones}
    got = score(named, weights={"odd": 10.0, "share": 3.0, "two": -0.5})
    # By hand: shares 1/2, 1/4, 0; two 2 each; odd None, 1 in the first part and None in the second.
    assert got.total == pytest.approx([1.5 - 1, 0.75 - 1 + 10, 0 - 1], abs=1e-9)
    assert got.means == pytest.approx({"share": 0.25, "two": 2.0, "odd": 1.0}, abs=1e-9)
    assert got.deviations == pytest.approx({"share": 0.25, "two": 0.0}, abs=1e-9)
    assert got.metrics() == pytest.approx(
        {
            "rewards/share/mean": 0.25,
            "rewards/two/mean": 2.0,
            "rewards/odd/mean": 1.0,
            "rewards/share/std": 0.25,
            "rewards/two/std": 0.0,
        },
        abs=1e-9,
    )
    assert score(functions.slow_two).total == (2.0, 2.0, 2.0)


def test_a_deviation_needs_two() -> None:
    def first(completions: list[str], prompts: list[str], **_: Any) -> list[float | None]:
        return [{"c": 1.0, "d": 4.0}.get(prompt) for prompt in prompts]

    assert whole(first).deviations == {"first": pytest.approx(3 / 2**0.5, abs=1e-9)}
    assert whole(functions.odd_ones).deviations == {}


def test_names_are_trls(reward_model: str) -> None:
    class Judge:
        def __call__(self, completions: list[str], **_: Any) -> list[float]:
            return [0.0] * len(completions)

    model = LlamaForSequenceClassification.from_pretrained(reward_model, num_labels=1)
    several = [
        functions.share_of_a,
        functools.partial(functions.slow_two, extra=1),
        lambda completions, **_: [0.0] * len(completions),
        Judge(),
        functions.share_of_a,
        reward_model,
        model,
    ]
    made = make_rewards(several, CPU)
    assert list(made.sources) == ["share_of_a", "slow_two", "lambda", "Judge", "share_of_a_2", "rm", "rm_2"]
    assert set(made.weights.values()) == {1.0}


def test_logged_metrics_are_averaged() -> None:
    def logging(completions: list[str], log_metric: Callable[[str, float], None], **_: Any) -> list[float]:
        log_metric("rows", len(completions))
        log_metric("rows", 6)
        return [0.0] * len(completions)

    assert score(logging).logged == {"rows": pytest.approx((2 + 6 + 1 + 6) / 4)}


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "finite number; step 4: nan"), ("x", "takes a number")])
def test_bad_metrics_are_named(value: Any, message: str) -> None:
    def logging(log_metric: Any, **_: Any) -> list[float]:
        log_metric("m", value)
        return []

    with pytest.raises(UserError, match=rf"reward function 'logging' failed at step 4 .*log_metric.'m', .*{message}"):
        score(logging)


def test_async_functions_run_together_and_on_one_loop() -> None:
    """Two functions that wait for each other finish; at the next step they are on the same loop."""
    met, loops = asyncio.Barrier(2), []

    async def meeting(completions: list[str], **_: Any) -> list[float]:
        loops.append(asyncio.get_running_loop())
        await asyncio.wait_for(met.wait(), 5)
        return [1.0] * len(completions)

    made = make_rewards({"one": meeting, "other": meeting}, CPU)
    before = threading.active_count()
    for _ in range(2):
        given = made.give(TEXT_BATCH, TEXTS, IDS, ENDED, step=1)
        assert given.rewards == {"one": [1.0] * 3, "other": [1.0] * 3}
    assert len(set(map(id, loops))) == 1
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before
    assert loops[0].is_closed()


def waiting_for_ever(ends: list[str], started: threading.Event) -> Callable[..., Any]:
    async def endless(completions: list[str], **_: Any) -> list[float]:
        started.set()
        try:
            await asyncio.sleep(600)
        finally:
            ends.append("cancelled")
        return [0.0] * len(completions)

    return endless


def test_an_async_function_that_fails_ends_the_others() -> None:
    ends: list[str] = []
    before, endless = threading.active_count(), waiting_for_ever(ends, threading.Event())

    async def failing(**_: Any) -> list[float]:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    made = make_rewards({"endless": endless, "failing": failing}, CPU)
    with pytest.raises(UserError, match=r"'failing' failed at step 1 .*ValueError: no"):
        made.give(TEXT_BATCH, TEXTS, IDS, ENDED, step=1)

    assert ends == ["cancelled"]
    assert threading.active_count() == before


def test_an_interrupt_ends_async_functions() -> None:
    ends: list[str] = []
    started = threading.Event()
    made = make_rewards({"endless": waiting_for_ever(ends, started)}, CPU)

    def interrupt() -> None:
        started.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # one that waits is woken

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        made.give(TEXT_BATCH, TEXTS, IDS, ENDED, step=1)

    thread.join()
    assert ends == ["cancelled"]


def test_async_functions_inside_a_running_loop() -> None:
    async def notebook() -> Scored:
        return whole(functions.slow_two)

    assert asyncio.run(notebook()).total == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (functions.one_short, "'one_short' returns a list of 3 rewards; step 4: it returned 2 values"),
        (functions.words, "'words' returns numbers or None; step 4"),
        (lambda **_: 1.0, "'lambda' returns a list of 3 rewards; step 4: it returned float"),
    ],
)
def test_bad_rewards_are_named(function: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        whole(function)


def test_a_reward_that_is_not_finite_is_a_divergence() -> None:
    with pytest.raises(DivergenceError, match="'not_a_number' returns finite rewards; step 4, completion 2: nan"):
        whole(functions.not_a_number)


def test_what_a_function_raises_is_said_with_its_place() -> None:
    def broken(**_: Any) -> list[float]:
        return [1 / 0]

    async def broken_later(**_: Any) -> list[float]:
        await asyncio.sleep(0)
        raise KeyError("gone")

    with pytest.raises(UserError, match=r"'broken' failed at step 4 \(test_ppo_reward.py:\d+\): ZeroDivisionError"):
        whole(broken)
    with pytest.raises(UserError, match=r"'broken_later' failed at step 4 \(.*\): KeyError: 'gone'"):
        whole(broken_later)


def no_keywords(prompts: Any, completions: Any) -> list[float]:
    return [0.0] * len(completions)


def needy(completions: Any, solution: Any, rubric: Any, environments: Any = None, **_: Any) -> list[float]:
    return [0.0] * len(completions)


def whole_signature(
    prompts: Any, completions: Any, completion_ids: Any, answer: Any, log_metric: Any = None
) -> list[float]:
    log_metric("seen", len(answer))
    return [0.0] * len(completions)


def test_signatures_are_checked() -> None:
    with pytest.raises(UserError, match=r"'no_keywords' does not take completion_ids, answer; add \*\*kwargs"):
        make_rewards(no_keywords, CPU).check(["answer"])
    with pytest.raises(UserError, match=r"columns \(answer\).*'needy' needs solution, rubric too"):
        make_rewards(needy, CPU).check(["answer"])
    with pytest.raises(UserError, match=r"there is none beside the prompt.*'needy' needs solution"):
        make_rewards(needy, CPU).check([])
    make_rewards([needy, functions.recording, max, functools.partial(needy, rubric=1)], CPU)
    make_rewards(functools.partial(needy, rubric=1), CPU).check(["solution"])
    made = make_rewards(whole_signature, CPU)
    made.check(["answer"])
    assert made.give(TEXT_BATCH, TEXTS, IDS, ENDED, step=1).logged == {"seen": [3.0]}


@pytest.mark.parametrize(
    ("rewards", "more", "message"),
    [
        ([], {}, "reward_funcs is empty"),
        ("no-such/", {}, "a callable or a reward model; no such folder: 'no-such/'"),
        ([functions.words] * 2, {"weights": [1.0]}, r"one weight for each of words, words_2; got \[1.0\]"),
        ({"a": functions.words}, {"weights": {"b": 1.0}}, "one weight for each of a; got those of b"),
        (functions.words, {"weights": [float("inf")]}, "reward_weights are finite numbers; got .inf."),
        (functions.words, {"tokenizers": [None, None]}, "one entry for each of 1 reward functions .* got 2"),
    ],
)
def test_what_is_no_reward(rewards: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_rewards(rewards, CPU, **more)


def test_completions_that_no_function_applies_to_score_zero(caplog: pytest.LogCaptureFixture) -> None:
    got = make_rewards({"odd": functions.odd_ones, "never": functions.nothing}, CPU, weights=[5.0, 1.0])
    scored = got.combine([got.give(TEXT_BATCH, TEXTS, IDS, ENDED, step=4)], step=4)
    assert scored.total == (0.0, 5.0, 0.0)
    assert scored.means == {"odd": 1.0}
    assert caplog.messages == ["step 4: no reward function applies to 2 of 3 completions, which score 0"]
    caplog.clear()
    whole({"odd": functions.odd_ones, "share": functions.share_of_a})
    assert not caplog.messages


def test_trls_accuracy_reward(make_reward: Make) -> None:
    """conf/reward/math.yaml's: right, wrong, and a solution that cannot be parsed."""
    prompts = [[{"role": "user", "content": "?"}]] * 3
    batch = PromptBatch(prompts, [[10]] * 3, {"solution": [r"$\frac{1}{3}$", r"$\frac{1}{3}$", "no mathematics"]})
    texts = [r"\boxed{\frac{2}{6}}", r"\boxed{\frac{1}{2}}", r"\boxed{1}"]
    entries = {"accuracy": {"function": "trl.rewards:accuracy_reward", "weight": 2.0}}
    rewards = configured_rewards(make_reward(functions=entries), CPU)
    rewards.check(list(batch.columns))
    got = rewards.combine([rewards.give(batch, texts, IDS, ENDED, step=1)], step=1)
    assert got.total == (2.0, 0.0, 0.0)
    assert got.means == {"accuracy": 0.5}


def test_trl_without_its_optional_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy_rewards, "is_math_verify_available", lambda: False)
    with pytest.raises(UserError, match=r"'accuracy_reward': .*math_verify.*; pip install 'math-verify"):
        make_rewards(accuracy_rewards.accuracy_reward, CPU)
    FunctionReward(functions.words, "words")


@pytest.mark.parametrize("name", ["tests.unit.ppo.rewards:missing", "no_such_module:f"])
def test_unknown_functions(make_reward: Make, name: str) -> None:
    with pytest.raises(UserError, match=f"importable as 'package.module:name'; '{name}'"):
        configured_rewards(make_reward(functions={"f": {"function": name, "weight": 1.0}}), CPU)


@pytest.mark.parametrize("as_object", [False, True], ids=["path", "object"])
@pytest.mark.parametrize("batch", [TEXT_BATCH, CHAT_BATCH], ids=["text", "chat"])
def test_a_reward_model_reads_prompt_and_completion(
    reward_model: str, tokenizer: PreTrainedTokenizerFast, batch: PromptBatch, as_object: bool
) -> None:
    theirs = LlamaForSequenceClassification.from_pretrained(reward_model, attention_dropout=0.5).train()
    got = score([theirs if as_object else reward_model], batch, weights=[2.0]).total
    for prompt, text, ended, value in zip(batch.prompts, TEXTS, ENDED, got, strict=True):
        if isinstance(prompt, str):  # text is joined as it is, and this tokenizer splits at white space only
            ids = tokenizer(f"{prompt}{text}" + "<eos>" * ended)["input_ids"]
        else:
            shown = f"<|user|> {prompt[0]['content']} <|assistant|> {text}" + " <eos>" * ended
            ids = tokenizer.convert_tokens_to_ids(shown.split())
        with torch.no_grad():
            assert value == pytest.approx(2 * theirs.eval()(torch.tensor([ids])).logits.item(), abs=1e-5)


def test_a_reward_model_of_no_folder_needs_its_tokenizer(
    reward_model: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = LlamaForSequenceClassification(LlamaForSequenceClassification.from_pretrained(reward_model).config)
    model.config._name_or_path = ""
    with pytest.raises(UserError, match=r"brings its tokenizer; no such folder: ''; .* reward_processing_classes"):
        make_rewards(model, CPU)
    assert list(make_rewards(model, CPU, tokenizers=tokenizer).sources) == ["LlamaForSequenceClassification"]


def test_models_with_another_head_are_refused(
    make_model: Make, reward_model: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(UserError, match="head `score` has one output; got LlamaForCausalLM without `score`"):
        make_rewards(make_model(), CPU, tokenizers=tokenizer)
    config = LlamaForSequenceClassification.from_pretrained(reward_model).config
    config.num_labels = 3
    with pytest.raises(UserError, match="LlamaForSequenceClassification with 3 outputs"):
        make_rewards(LlamaForSequenceClassification(config), CPU, tokenizers=tokenizer)


@pytest.mark.parametrize(
    ("closing", "left"),
    [("<eos>", ""), ("<eos>\n \n", ""), ("<end>\n", "<end>\n")],
    ids=["EOS", "EOS and white-space", "no EOS"],
)
def test_a_truncated_conversation_is_shown_unfinished(reward_model: str, closing: str, left: str) -> None:
    """The EOS of earlier turns and the completion's own white-space stay."""
    characters = Tokenizer(models.WordLevel({c: i for i, c in enumerate(["<eos>", "<end>", *"ab \n"])}, "<end>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    reward = ModelReward(reward_model, CPU)
    reward.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=characters,
        eos_token="<eos>",
        additional_special_tokens=["<end>"],
        chat_template="{% for m in messages %}{{ m['content'] + '" + closing.replace("\n", "\\n") + "' }}{% endfor %}",
    )
    prompt = [{"role": "user", "content": "a"}]
    for ended, end in ((True, closing), (False, left)):
        shown = reward.tokenizer.convert_ids_to_tokens(reward._encode(prompt, "b\n", ended))
        assert "".join(shown) == f"a{closing}b\n{end}"


def test_a_reward_tokenizer_without_eos_is_refused(reward_model: str, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.eos_token = None
    tokenizer.save_pretrained(reward_model)
    with pytest.raises(UserError, match=f"the tokenizer of '{reward_model}' has no EOS token"):
        make_rewards(reward_model, CPU)


def test_texts_keep_thoughts_and_drop_eos_and_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    assert completion_texts(tokenizer, [[4, 10, 5, 8, 1, 0]], {0, 1}) == ["<think> c </think> a"]


def test_a_row_longer_than_a_reward_models_positions_is_refused(reward_model: str) -> None:
    """Before any forward pass: at 64 positions it is scored, at 65 it is not."""
    reward = ModelReward(reward_model, CPU)
    tools = RewardTools(3, TrainerState(), lambda name, value: None)

    def scored(words: int) -> Any:
        batch = PromptBatch(["a", "b c"], [[8], [9, 10]], {})
        return reward(Completions(batch, ["d", " e" * words + " "], [[11], [12] * words], [True, True]), tools)

    assert len(scored(61)) == 2  # two of the prompt, and the EOS
    reward.model.backbone.register_forward_pre_hook(lambda *_: pytest.fail("a forward pass was made"))
    with pytest.raises(UserError, match=r"a reward model's row fits in its 64 positions; step 3: rows of 65 tokens"):
        scored(62)
