"""The instructions of LiveBench's questions, each a function of the answer and the instruction's arguments.

The rules are those of IFEval as LiveBench keeps them (LiveBench/LiveBench,
`livebench/if_runner/instruction_following_eval/instructions.py`). Keywords and section marks are regular expressions
there and therefore here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench.instruction_following._sentences import count_sentences

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]

CONSTRAINED_RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}  # of the lower-cased answer
_FENCES = ("```json", "```Json", "```JSON", "```")


def _compare(count: int, limit: int, relation: str) -> bool:
    match relation:
        case "less than":
            return count < limit
        case "at least":
            return count >= limit
    raise UserError(f"an instruction's relation is 'less than' or 'at least'; got {relation!r}; mend the question")


def _keywords(answer: str, given: Arguments) -> bool:
    return all(re.search(word, answer, re.IGNORECASE) for word in given["keywords"])


def _keyword_frequency(answer: str, given: Arguments) -> bool:
    found = len(re.findall(given["keyword"].strip(), answer, re.IGNORECASE))
    return _compare(found, given["frequency"], given["relation"])


def _forbidden_words(answer: str, given: Arguments) -> bool:
    return not any(re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in given["forbidden_words"])


def _letter_frequency(answer: str, given: Arguments) -> bool:
    found = answer.lower().count(given["letter"].strip().lower())
    return _compare(found, given["let_frequency"], given["let_relation"])


def _sentences(answer: str, given: Arguments) -> bool:
    return _compare(count_sentences(answer), given["num_sentences"], given["relation"])


def _words(answer: str, given: Arguments) -> bool:
    return _compare(len(re.findall(r"\w+", answer)), given["num_words"], given["relation"])


def _paragraphs(answer: str, given: Arguments) -> bool:
    """Paragraphs are divided by `***`; none but the first and the last may be blank, and these do not count."""
    blank = [not part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
    if any(blank[1:-1]):
        return False
    return bool(len(blank) - sum(blank) == given["num_paragraphs"])


def _nth_paragraph_first_word(answer: str, given: Arguments) -> bool:
    """Paragraphs are divided by a blank line; blank ones do not count, but keep their place."""
    paragraphs = answer.split("\n\n")
    count = sum(bool(part.strip()) for part in paragraphs)
    number = given["nth_paragraph"]
    if number > count or not (words := paragraphs[number - 1].split()):
        return False
    first = re.split("[.,?!'\"]", words[0].lstrip("'").lstrip('"'), maxsplit=1)[0]
    return bool(count == given["num_paragraphs"] and first.lower() == given["first_word"].lower())


def _placeholders(answer: str, given: Arguments) -> bool:
    return bool(len(re.findall(r"\[.*?\]", answer)) >= given["num_placeholders"])


def _postscript(answer: str, given: Arguments) -> bool:
    marker = given["postscript_marker"].strip()
    return re.search(_POSTSCRIPTS.get(marker, marker.lower()), answer.lower()) is not None


def _bullets(answer: str, given: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", answer, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", answer, re.MULTILINE)
    return bool(len(stars) + len(dashes) == given["num_bullets"])


def _constrained(answer: str, given: Arguments) -> bool:
    return any(response in answer for response in CONSTRAINED_RESPONSES)


def _highlights(answer: str, given: Arguments) -> bool:
    """Text in `*` and text in `**`; the latter's marks alone are no text in `*`."""
    single = [mark.strip("*") for mark in re.findall(r"\*[^\n\*]*\*", answer)]
    double = [mark[2:-2] for mark in re.findall(r"\*\*[^\n\*]*\*\*", answer)]
    return bool(sum(bool(text.strip()) for text in single + double) >= given["num_highlights"])


def _sections(answer: str, given: Arguments) -> bool:
    mark = rf"\s?{given['section_spliter'].strip()}\s?\d+\s?"  # "spliter" is the questions' spelling
    return bool(len(re.findall(mark, answer)) >= given["num_sections"])


def _json(answer: str, given: Arguments) -> bool:
    text = answer.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str, given: Arguments) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", answer))


def _two_responses(answer: str, given: Arguments) -> bool:
    parts = [part.strip() for part in answer.split("******")]
    if not all(parts[1:-1]):
        return False
    responses = [part for part in parts if part]
    return len(responses) == 2 and responses[0] != responses[1]


def _repeat_prompt(answer: str, given: Arguments) -> bool:
    return answer.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _end(answer: str, given: Arguments) -> bool:
    return answer.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _quotation(answer: str, given: Arguments) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] == '"' == text[-1]


def _no_comma(answer: str, given: Arguments) -> bool:
    return "," not in answer


CHECKS: Mapping[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _keyword_frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "punctuation:no_comma": _no_comma,
}
