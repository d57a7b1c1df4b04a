"""The live actor as an lm-eval model. Importing this module imports lm-eval; import it when it is needed.

Encoding, prefix tokens and truncation are HFLM's, so that scores equal those of `lm_eval --model hf` (a test holds
them side by side); what runs underneath is our own decoding, which answers short requests many times faster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import resolve_max_length
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from bai_sweep.config import EvaluationConfig
from bai_sweep.evaluation._cache import ResponseCache, key_of, seed_of
from bai_sweep.evaluation._digest import tokenizer_digest
from bai_sweep.evaluation._responses import Decoding, answer_of, decoding_of, fit, opening_of
from bai_sweep.evaluation._surroundings import seed_everything
from bai_sweep.generation import continuation_logprobs, eos_ids, generate
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

Pair = tuple[list[int], list[int]]


class ActorLM(TemplateLM):  # type: ignore[misc] # lm-eval is untyped
    """lm-eval's view of a model in memory.

    Args:
        model: a causal language model, in eval mode.
        tokenizer: its own.
        config: batch size, response length, end of thought, seed.
        cache: answers that are known, and to which what is asked is added.
        on_requests: told (answered, total) of the requests of one call.
    """

    tokenizer: Any

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: EvaluationConfig,
        cache: ResponseCache | None,
        on_requests: Callable[[int, int], None],
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.config, self.cache = model, tokenizer, config, cache
        self.max_length = resolve_max_length(model.config, tokenizer)
        self.raw: dict[tuple[str, int], list[str]] = {}  # whole responses by (task, document), for the samples file
        self._on_requests = on_requests
        self._shown = self._special_marks()
        # besides the prompt, what an answer ends at depends on these
        self._ends = {"ends": eos_ids(model, tokenizer), "tokenizer": tokenizer_digest(tokenizer)}

    @property
    def eot_token_id(self) -> int:
        """EOS: the end of text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands in for an empty context: BOS, or EOS for a tokenizer without one."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's cache keys."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; no second BOS before a text that begins with one (a chat template's)."""
        kwargs = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            kwargs = {"add_special_tokens": False}
        return list(self.tokenizer.encode(string, **kwargs))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as a prompt; without its system message for a template that refuses one."""
        if not self.tokenizer.chat_template:
            raise UserError("the tokenizer has no chat template; set chat_template: false for this benchmark")
        kwargs = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        try:
            return str(self.tokenizer.apply_chat_template(chat_history, tokenize=False, **kwargs))
        except jinja2.TemplateError:
            log.warning("the chat template refused a conversation; trying it without its system message")
            rest = [message for message in chat_history if message["role"] != "system"]
            return str(self.tokenizer.apply_chat_template(rest, tokenize=False, **kwargs))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-probability in nats, is greedy) of each continuation given its context."""
        return list(super().loglikelihood(requests, disable_tqdm=disable_tqdm))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """The log-probability of each whole text, over windows of the context length that do not overlap."""
        windows: list[list[Pair]] = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                )
            ]
            for request in requests
        ]
        values = iter(self._score([pair for group in windows for pair in group]))
        return [sum(next(values)[0] for _ in group) for group in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """The answer to each request, thoughts and stop strings taken off (`answer_of`)."""
        groups: dict[Decoding, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(decoding_of(request.args[1], self.config.max_new_tokens), []).append(i)
        answers, whole = [""] * len(requests), [""] * len(requests)
        done = 0
        for decoding, indices in groups.items():
            prompts, budgets = self._fitted([requests[i].args[0] for i in indices], decoding)
            for batch in self._generated(prompts, decoding, budgets):
                for k, tokens in batch:
                    i = indices[k]
                    whole[i] = self._decode(tokens)
                    answers[i] = self._answer(requests[i].args[0], whole[i], decoding, len(tokens) == budgets[k])
                done += len(batch)
                self._on_requests(done, len(requests))
        for request, text in zip(requests, whole, strict=True):
            self.raw.setdefault((str(request.task_name), int(request.doc_id or 0)), []).append(text)
        seed_everything(self.config.seed)  # what scoring draws does not depend on how many answers were known
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = True, **_: Any
    ) -> list[tuple[float, bool]]:
        return self._score([(context, continuation) for _, context, continuation in requests])

    def _score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """(log-probability, is greedy) of each pair, from the cache or the model."""
        window = self.max_length + 1  # the last token is only predicted, never fed
        cut = sum(len(context) + len(continuation) > window for context, continuation in pairs)
        if cut:
            log.warning(
                "%d of %d contexts exceed %d tokens and were cut on the left", cut, len(pairs), self.max_length
            )
        fitted = [_cut_left(pair, window) for pair in pairs]
        keys = [key_of("score", [*context, -1, *continuation]) for context, continuation in fitted]
        known = self.cache.scores(keys) if self.cache else {}
        asked = [i for i, key in enumerate(keys) if key not in known]
        done = len(pairs) - len(asked)
        for batch in continuation_logprobs(self.model, [fitted[i] for i in asked], self.config.batch_tokens):
            new = {keys[asked[k]]: answer for k, answer in batch}
            if self.cache:
                self.cache.keep_scores(new)
            known |= new
            done += len(batch)
            self._on_requests(done, len(pairs))
        return [known[key] for key in keys]

    def _fitted(self, texts: Sequence[str], decoding: Decoding) -> tuple[list[list[int]], list[int]]:
        """The prompts' tokens and the response length of each, within the context window."""
        encoded = [self.tok_encode(text) or [self.prefix_token_id] for text in texts]
        prompts, budgets, cut = fit(encoded, decoding.max_new_tokens, self.max_length)
        if fewer := sum(budget < decoding.max_new_tokens for budget in budgets):
            log.warning(
                "%d of %d responses get fewer than %d tokens, at least %d: the context holds %d with the prompt",
                fewer, len(budgets), decoding.max_new_tokens, min(budgets), self.max_length,
            )  # fmt: skip
        if cut:
            log.warning(
                "%d of %d prompts were cut on the left: they exceed the context of %d with %d tokens for the response",
                cut, len(prompts), self.max_length, min(decoding.max_new_tokens, self.max_length // 3),
            )  # fmt: skip
        return prompts, budgets

    def _generated(
        self, prompts: Sequence[list[int]], decoding: Decoding, budgets: Sequence[int]
    ) -> Iterator[list[tuple[int, list[int]]]]:
        """(index, new tokens) of each prompt, those that are known first and then batch by batch."""
        sampled = {"temperature": decoding.temperature, "top_p": decoding.top_p} if decoding.temperature else {}
        seeds = self._seeds(prompts) if sampled else [0] * len(prompts)
        settings: dict[str, Any] = {"stop_strings": self._stops(decoding), **sampled}
        keys = [
            key_of("text", prompt, max_new_tokens=budget, seed=seed, **settings, **self._ends)
            for prompt, budget, seed in zip(prompts, budgets, seeds, strict=True)
        ]
        known = self.cache.texts(keys) if self.cache else {}
        yield [(i, known[key]) for i, key in enumerate(keys) if key in known]
        asked = [i for i, key in enumerate(keys) if key not in known]
        for batch in generate(
            self.model,
            self.tokenizer,
            [prompts[i] for i in asked],
            max_new_tokens=[budgets[i] for i in asked],
            batch_tokens=self.config.batch_tokens,
            seeds=[seeds[i] for i in asked],
            **settings,
        ):
            if self.cache:
                self.cache.keep_texts({keys[asked[k]]: tokens for k, tokens in batch})
            yield [(asked[k], tokens) for k, tokens in batch]

    def _seeds(self, prompts: Sequence[list[int]]) -> list[int]:
        """One for each prompt; a prompt that is asked several times has another each time."""
        times: dict[tuple[int, ...], int] = {}
        seeds = []
        for prompt in prompts:
            repeat = times.get(tuple(prompt), 0)
            times[tuple(prompt)] = repeat + 1
            seeds.append(seed_of(self.config.seed, prompt, repeat))
        return seeds

    def _stops(self, decoding: Decoding) -> list[str]:
        """Strings that end a response: none while it may be a thought, and not EOS, which ends it as a token."""
        eos = self.tokenizer.decode([self.eot_token_id])
        return [] if self.config.think_end else [stop for stop in decoding.until if stop != eos]

    def _answer(self, prompt: str, text: str, decoding: Decoding, truncated: bool) -> str:
        # where thoughts are expected, no stop string ends a response: `truncated` is then the limit's doing
        return answer_of(text, decoding, prompt=prompt, think_end=self.config.think_end, truncated=truncated)

    def _decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens, except the marks of a thought where these are special tokens."""
        text = ""
        piece: list[int] = []
        for token in tokens:
            if token in self._shown:
                text += self.tokenizer.decode(piece, skip_special_tokens=True) + self._shown[token]
                piece = []
            else:
                piece.append(token)
        return text + str(self.tokenizer.decode(piece, skip_special_tokens=True))

    def _special_marks(self) -> dict[int, str]:
        end = self.config.think_end
        marks = [mark for mark in (end, opening_of(end)) if mark] if end else []
        ids = {self.tokenizer.convert_tokens_to_ids(mark): mark for mark in marks}
        return {token: mark for token, mark in ids.items() if token in self.tokenizer.all_special_ids}


def _cut_left(pair: Pair, window: int) -> Pair:
    context, continuation = pair
    excess = len(context) + len(continuation) - window
    if excess <= 0:
        return pair
    if excess >= len(context):
        raise UserError(
            f"a continuation of {len(continuation)} tokens does not fit the context of {window - 1}; leave out this "
            "benchmark for this model"
        )
    return context[excess:], continuation
