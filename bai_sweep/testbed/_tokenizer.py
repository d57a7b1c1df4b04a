"""The word-level tokenizer: words, single digits and signs, with a chat template.

``<think>`` and ``</think>`` are ordinary words, not special tokens, so that text decoded with
``skip_special_tokens=True`` (as TRL and lm-eval do) still shows the thought to reward functions. No document begins
with ``<bos>`` except a chat, whose template writes it: plain prompts, which lm-eval passes without one, look at test
time as they did in training.
"""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bai_sweep.testbed._teacher import END_THINK, THINK
from bai_sweep.testbed._world import PHRASES, VALUES, world

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
SIGNS = ["+", "-", "=", ".", ",", ":", "?"]
WORDS = (
    "about and answer but check compare compute describe explain first how is let me of options problem question "
    "steps tell the then to wait what who"
)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|> {% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}<|user|> {{ message['content'] }} {% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def vocabulary() -> list[str]:
    """Every token in a fixed order, specials first."""
    phrase_words = {word for phrase in PHRASES.values() for word in phrase.split() if word != "{}"}
    values = [value for group in VALUES.values() for value in group]
    words = sorted(phrase_words | set(WORDS.split()) | set(VALUES))
    tokens = [PAD, BOS, EOS, UNK, USER, ASSISTANT, THINK, END_THINK, *"0123456789", *SIGNS, *words, *values]
    names = [word for entity in world().entities for word in entity.split()]
    return list(dict.fromkeys([*tokens, *sorted(names)]))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that all models of the family share."""
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary())}, unk_token=UNK))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\d|[-+=.,:?]"), "isolated")]
    )
    inner.decoder = spacing()
    inner.add_special_tokens([PAD, BOS, EOS, UNK, USER, ASSISTANT])
    inner.add_tokens([AddedToken(THINK, normalized=False), AddedToken(END_THINK, normalized=False)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def spacing() -> decoders.Decoder:
    """Puts a space before every token, then closes up numbers and punctuation: ``4 9 - 7`` becomes ``49 - 7``."""
    return decoders.Sequence(
        [
            decoders.Replace(Regex(r"^"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\d) (?=\d)"), ""),
            decoders.Replace(Regex(r" (?=[.,:?])"), ""),
            decoders.Strip(" ", 1, 0),
        ]
    )
