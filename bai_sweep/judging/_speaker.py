"""A loaded judge model: conversations to prompts, prompts to answers. Imports torch and transformers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, final

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep.config._judge import LocalJudge
from bai_sweep.devices import device_of
from bai_sweep.generation import generate, in_order
from bai_sweep.judging._records import JudgeError
from bai_sweep.judging._request import Answer, Request, without_thought
from bai_sweep.records import UserError
from bai_sweep.sources import reading, resolve

log = logging.getLogger(__name__)


def load_tokenizer(source: str) -> Any:
    """A judge's tokenizer.

    Raises:
        UserError: It cannot be loaded, or has no chat template.
    """
    name, revision = resolve(source)
    with reading(source):
        tokenizer: Any = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise UserError(
            f"a judge is asked in conversations, and the tokenizer of {source} has no chat template; name a "
            "chat model as judge.model"
        )
    return tokenizer


@final
class Speaker:
    """A model with its tokenizer and chat template, on its device.

    Raises:
        UserError: It cannot be loaded, has no chat template, or the device is not there.
    """

    def __init__(self, config: LocalJudge) -> None:
        self._config = config
        self._tokenizer: Any = load_tokenizer(config.model)
        device = device_of(config.device)
        name, revision = resolve(config.model)
        log.info("loading the judge %s", config.model)
        dtype = "auto" if config.dtype is None else getattr(torch, config.dtype)
        try:
            with reading(config.model):
                load: Any = AutoModelForCausalLM.from_pretrained
                model, found = load(
                    name,
                    revision=revision,
                    dtype=dtype,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except SafetensorError as error:
            raise UserError(f"the weights of the judge {config.model} are broken: {error}; fetch it again") from error
        if lacking := sorted(found["missing_keys"]):
            raise UserError(
                f"the judge {config.model} lacks {len(lacking)} of its weights, as {lacking[0]}; fetch it again"
            )
        self._model: Any = model.to(device).eval()
        self._window: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def answer(self, requests: Sequence[Request]) -> list[Answer | JudgeError]:
        """Answers requests; one that the model cannot take gets its error in the answer's place."""
        answers: list[Answer | JudgeError | None] = [None] * len(requests)
        prompts: list[list[int]] = []
        groups: dict[tuple[float, int], list[int]] = {}
        for i, request in enumerate(requests):
            prompts.append(self._prompt(request))
            room = self._room(len(prompts[i]), request)
            if not prompts[i]:
                answers[i] = JudgeError(f"the chat template of {self._config.model} refuses {request.short()}")
            elif room < 1:
                answers[i] = JudgeError(
                    f"{request.short()} takes {len(prompts[i])} tokens, and {self._config.model} reads {self._window}"
                )
            else:
                groups.setdefault((request.temperature or 0.0, room), []).append(i)
        for (temperature, room), members in groups.items():
            asked = [requests[i] for i in members]
            for i, answer in zip(
                members, self._generated(asked, [prompts[i] for i in members], temperature, room), strict=True
            ):
                answers[i] = answer
        return [answer for answer in answers if answer is not None]

    def _generated(
        self, requests: Sequence[Request], prompts: Sequence[list[int]], temperature: float, room: int
    ) -> list[Answer]:
        batches = generate(
            self._model,
            self._tokenizer,
            prompts,
            max_new_tokens=room,
            batch_tokens=self._config.batch_tokens,
            temperature=temperature,
            seeds=[seed_of(request) for request in requests],
        )
        return [
            Answer(self._text(tokens, truncated=len(tokens) >= room), len(prompt), len(tokens), self._config.model)
            for prompt, tokens in zip(prompts, in_order(batches), strict=True)
        ]

    def _room(self, prompt: int, request: Request) -> int:
        """Tokens of the answer: what was asked for, or what the context window leaves."""
        return request.max_tokens if self._window is None else min(request.max_tokens, self._window - prompt)

    def _prompt(self, request: Request) -> list[int]:
        """Token ids; none where the template refuses the conversation."""
        for messages in (list(request.messages), _without_system(request.messages)):
            try:
                text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError:
                continue
            return list(self._tokenizer.encode(text, add_special_tokens=False))
        return []

    def _text(self, tokens: Sequence[int], *, truncated: bool) -> str:
        # the marks of a thought may be special tokens, so these are taken out after it
        said = without_thought(
            self._tokenizer.decode(tokens, skip_special_tokens=False), self._config.think_end, truncated=truncated
        )
        for special in self._tokenizer.all_special_tokens:
            said = said.replace(special, "")
        return said


def seed_of(request: Request) -> int:
    """A seed of its own for each conversation and attempt; torch takes 63 bits."""
    return int(request.digest[:16], 16) >> 1


def _without_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The system message as the beginning of the next one: a judge's rules are in it, and some templates refuse it."""
    first, *rest = messages
    if first["role"] != "system" or not rest:
        return list(messages)
    return [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
