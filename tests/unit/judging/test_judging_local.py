"""A model on this machine as a judge: real models, tiny ones."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from judging_server import judge_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep.judging import Judge, JudgeError, check_judge, open_judge
from bai_sweep.judging import _speaker as speaker_module
from bai_sweep.judging._budget import Ledger, Terms
from bai_sweep.judging._local import LocalModel, fingerprint
from bai_sweep.judging._request import Request
from bai_sweep.judging._speaker import Speaker
from bai_sweep.records import UserError
from bai_sweep.sources import testbed_weights as weights_folder
from tests.tiny import save_tiny_model

QUESTION = [{"role": "user", "content": "what is 3 plus 4"}]


def opened(folder: Path, model: str = "testbed://instruct", **settings: Any) -> Judge:
    # float32: rounding must not decide whether answers of a batch are those of asking one by one
    settings = {"device": "cpu", "dtype": "float32", "batch_wait": 0.0, "think_end": None, **settings}
    judge = open_judge(judge_config("local", model=model, **settings), cache_dir=folder)
    assert judge is not None
    return judge


def reference(messages: list[dict[str, str]], new_tokens: int) -> str:
    """What transformers' own generate says, greedily."""
    folder = weights_folder() / "instruct"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    with torch.no_grad():
        out = model.generate(
            prompt, max_new_tokens=new_tokens, do_sample=False, attention_mask=torch.ones_like(prompt)
        )
    return str(tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True))


def test_reply_is_the_models_greedy_answer(tmp_path: Path) -> None:
    judge = opened(tmp_path)
    reply = judge.ask(QUESTION, max_tokens=24)
    assert reply.text == reference(QUESTION, 24)
    assert reply.text.strip()
    assert (reply.cached, reply.model) == (False, "testbed://instruct")
    assert judge.ask(QUESTION, max_tokens=24).cached
    spent = judge.spent()
    assert (spent.requests, spent.cached, spent.cost) == (1, 1, 0.0)
    assert (spent.prompt_tokens, spent.completion_tokens) == (reply.prompt_tokens, reply.completion_tokens)


def test_replies_outlive_the_process_and_load_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path).ask(QUESTION, max_tokens=8)
    monkeypatch.setattr(speaker_module, "load_tokenizer", lambda _: pytest.fail("the model was loaded"))
    assert opened(tmp_path).ask(QUESTION, max_tokens=8).text == first.text


def test_requests_at_once_are_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread waits for others, all of them queue; their answers are those of asking one by one."""
    config = judge_config("local", model="testbed://instruct", device="cpu", dtype="float32", think_end=None)
    sizes: list[int] = []
    answer = Speaker.answer

    def counted(self: Speaker, requests: list[Request]) -> list[Any]:
        sizes.append(len(requests))
        return answer(self, requests)

    monkeypatch.setattr(Speaker, "answer", counted)
    questions = [[{"role": "user", "content": f"what is {k} plus 4"}] for k in range(6)]

    def until_all_have_come(_: float) -> None:
        for _ in range(500):
            with model._queueing:
                if len(model._queue) == 6:
                    return
            threading.Event().wait(0.01)

    model = LocalModel(config, Ledger(Terms()), sleep=until_all_have_come)
    requests = [model.request(question, 0.0, 12, 0) for question in questions]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(model.answer, requests))
    assert sizes == [6]
    alone = opened(tmp_path)
    assert [answer.text for answer in together] == [alone.ask(question, max_tokens=12).text for question in questions]
    assert sizes == [6] + [1] * 6


def test_requests_of_several_lengths_and_temperatures_share_a_batch() -> None:
    speaker = Speaker(judge_config("local", model="testbed://instruct", device="cpu", dtype="float32", think_end=None))
    asked = [
        Request((QUESTION[0],), temperature, length, attempt)
        for temperature, length, attempt in [(0.0, 4, 0), (1.0, 8, 0), (0.0, 6, 0), (1.0, 8, 1), (0.0, 4, 1)]
    ]
    together = speaker.answer(asked)
    alone = [speaker.answer([request])[0] for request in asked]
    assert together == alone
    assert together[0] == together[4]
    assert together[1] != together[3]


def test_sampling_is_the_same_each_time_and_another_for_each_attempt(tmp_path: Path) -> None:
    def texts(folder: Path) -> list[str]:
        judge = opened(folder, temperature=1.0)
        return [judge.ask(QUESTION, max_tokens=16, attempt=k).text for k in range(4)]

    first = texts(tmp_path / "a")
    assert first == texts(tmp_path / "b")
    assert len(set(first)) > 1


def test_answer_gets_what_the_window_leaves(tmp_path: Path) -> None:
    """The testbed reads 512 tokens; a protocol's 4096 are not refused."""
    reply = opened(tmp_path, temperature=1.0).ask(QUESTION, max_tokens=4096)
    assert 0 < reply.completion_tokens <= 512 - reply.prompt_tokens


def test_prompt_beyond_the_window_is_refused_and_others_are_answered() -> None:
    speaker = Speaker(judge_config("local", model="testbed://instruct", device="cpu", dtype="float32", think_end=None))
    long = ({"role": "user", "content": "what is 3 plus 4 " * 200},)
    refused, answered = speaker.answer([Request(long, 0.0, 8, 0), Request((QUESTION[0],), 0.0, 8, 0)])
    assert isinstance(refused, JudgeError)
    assert "tokens, and testbed://instruct reads 512" in str(refused)
    assert not isinstance(answered, JudgeError)


def test_refused_prompt_is_the_askers_error(tmp_path: Path) -> None:
    judge = opened(tmp_path)
    with pytest.raises(JudgeError, match=r"request [0-9a-f]{12} .* takes \d+ tokens"):
        judge.ask([{"role": "user", "content": "what is 3 plus 4 " * 200}])
    assert judge.ask(QUESTION, max_tokens=4).text
    assert judge.spent().failed == 1


def with_template(folder: Path, template: str | None) -> str:
    save_tiny_model(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return str(folder)


def test_system_message_that_a_template_refuses_is_not_lost(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ ' ' + m['content'] + ' ' }}{% endfor %}"
    )
    speaker = Speaker(
        judge_config(
            "local", model=with_template(tmp_path / "m", template), device="cpu", dtype="float32", think_end=None
        )
    )
    system, user = {"role": "system", "content": "a b"}, {"role": "user", "content": "c d"}
    folded, plain = (
        speaker._prompt(Request(messages, 0.0, 4, 0))
        for messages in ((system, user), ({"role": "user", "content": "a b c d"},))
    )
    assert folded == plain != []
    (error,) = speaker.answer([Request((user, system), 0.0, 4, 0)])
    assert isinstance(error, JudgeError)
    assert "refuses request" in str(error)


def test_thought_is_not_the_answer(tmp_path: Path) -> None:
    speaker = Speaker(judge_config("local", model=with_template(tmp_path / "m", "{{ messages[0]['content'] }}")))
    tokens = speaker._tokenizer.encode("<think> a b </think> c d", add_special_tokens=False)
    assert speaker._text(tokens, truncated=False) == "c d"
    assert speaker._text(tokens[:2], truncated=True) == ""
    special = speaker._tokenizer.encode("<think> a </think> c <pad> d", add_special_tokens=False)
    assert speaker._text(special, truncated=False).split() == ["c", "d"]


def test_model_without_a_chat_template_is_found_before(tmp_path: Path) -> None:
    config = judge_config("local", model=with_template(tmp_path / "m", None), device="cpu")
    with pytest.raises(UserError, match=r"has no chat template; name a chat model as judge\.model"):
        check_judge(config)


def test_model_that_is_whole_is_let_through(tmp_path: Path) -> None:
    check_judge(judge_config("local", model=str(save_tiny_model(tmp_path / "m")), device="cpu"))


def test_device_that_is_not_there_is_found_before() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="device=cuda: torch finds 0"):
        check_judge(judge_config("local", model="testbed://instruct", device="cuda"))


def test_broken_model_is_said_once_and_ends_the_asking(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"broken")
    judge = opened(tmp_path / "cache", model=str(folder))
    for _ in range(2):
        with pytest.raises(UserError, match=r"weights of the judge .* are broken"):
            judge.ask([{"role": "user", "content": "a"}])


def test_changed_weights_are_another_judge(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", seed=0)
    before = fingerprint(str(folder))
    moved = shutil.copytree(folder, tmp_path / "n", copy_function=shutil.copy2)
    assert fingerprint(str(moved)) == before
    save_tiny_model(folder, seed=1)
    assert fingerprint(str(folder)) != before
    (moved / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert fingerprint(str(moved)) != before
    assert fingerprint("owner/name") is None
