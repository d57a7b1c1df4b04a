"""How many sentences a text has, after the rules of Kiss and Strunk's Punkt without its trained tables.

The official scorer counts with NLTK's English Punkt model (`instructions_util.count_sentences`), whose tables are a
download of their own. The rules are those of Kiss and Strunk (2006), section 4, as NLTK up to 3.9 applies them. In
place of the tables stand: the abbreviations below; a few words that open sentences; and the text itself, in which a
word that is also written small is no name. The README gives the figures of how far the counts agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_ABBREVIATIONS = """
people, firms, streets, money and measures:
  mr mrs ms dr prof sen rep reps gen col lt maj adm messrs st sr jr inc co cie corp ltd bros cos ave vs v ft yr mg
months, days, states, countries, times, degrees:
  jan feb aug sep sept oct nov dec tues wed fri ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa
  tenn va vt wash wis w.va d.c l.a n.c n.h n.j n.m n.y s.c u.k u.n u.s u.s.a u.s.s.r a.d a.m p.m c.v m.b.a ph.d
letters that more often abbreviate than end a sentence:
  c d e f g h k l m n p r s t v w
"""
_OPENERS = """
  according although among both but despite even he however i if in indeed instead it many meanwhile moreover most
  nevertheless nonetheless nor similarly since so some the there these they this though thus under when while yet
"""
ABBREVIATIONS = frozenset(
    word for line in _ABBREVIATIONS.splitlines() if line.startswith(" ") for word in line.split()
)
OPENERS = frozenset(_OPENERS.split())

_APART = r"[)\";}\]*:@'({\[?!]"  # never inside a word
_RUN = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"  # dashes and ellipses are words of their own
_TOKEN = re.compile(rf"{_RUN}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_APART}|{_RUN}|,(?=$|\s|{_APART}|{_RUN}))|\S")
_CANDIDATE = re.compile(rf"[.?!](?=(?P<after>{_APART}|\s+(?P<following>\S+)))")
_CLOSING = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_ELLIPSIS = re.compile(r"\.\.+")
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.?")
_INITIAL = re.compile(r"[^\W\d]\.")
_BLANK = re.compile(r"[ \t\n\r\x0b\x0c]")
_SMALL = re.compile(r"(?<!\w)[a-z][\w'-]*")


def count_sentences(text: str) -> int:
    """Sentences of an English text: the spans between ends of sentences, closing quotes and brackets before them."""
    count = 0
    begin = 0  # of the span, after closing marks that belong to the sentence before
    spans = list(_spans(text))
    for (_, end), (later, later_end) in pairwise(spans):
        closing = _CLOSING.match(text[later:later_end])
        count += bool(closing) or end > begin
        begin = later + closing.end() if closing else later
    return count + (spans[-1][1] > begin)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of every sentence, closing marks after an end still with the next; the last may be empty."""
    begin = 0
    small = frozenset(_SMALL.findall(text))
    for word, candidate in _candidates(text):
        context = text[word : candidate.end()] + candidate["after"]
        opens_line = word == 0 or text[:word].rstrip(" \t").endswith("\n")
        if any(_is_end(token, after, small, opens_line) for token, after in pairwise(_TOKEN.findall(context))):
            yield begin, candidate.end()
            begin = candidate.start("following") if candidate["following"] else candidate.end()
    yield begin, len(text.rstrip())


def _candidates(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """Every full stop, question or exclamation mark that may end a sentence, with where its word begins.

    Of several in one word the last counts, and the first where the word begins with it.
    """
    word, pending = 0, None
    for candidate in _CANDIDATE.finditer(text):
        blanks = list(_BLANK.finditer(text, pending.start() if pending else 0, candidate.start()))
        begin = blanks[-1].end() if blanks and blanks[-1].start() > 0 else word
        if pending and pending.start() <= begin:
            yield word, pending
        word, pending = begin, candidate
    if pending:
        yield word, pending


def _is_end(token: str, following: str, small: frozenset[str], opens_line: bool) -> bool:
    """Whether a sentence ends with a token."""
    if token in {".", "?", "!"}:
        return True
    if not token.endswith(".") or token.endswith(".."):
        return _ELLIPSIS.fullmatch(token) is not None and _opens(following)
    stem = token[:-1].lower()
    abbreviated = not ABBREVIATIONS.isdisjoint({stem, stem.rsplit("-", 1)[-1]})
    initial = _INITIAL.fullmatch(token) is not None
    if abbreviated and not initial:
        return _opens(following)
    inside = False
    if initial or _NUMBER.fullmatch(token):
        inside = following[0].islower() or following in {";", ":", ",", ".", "!", "?"}
    if initial and following[0].isupper() and not opens_line:
        inside = _is_name(following, small)
    return not (abbreviated or inside)


def _opens(word: str) -> bool:
    return word[0].isupper() and word.lower() in OPENERS


def _is_name(word: str, small: frozenset[str]) -> bool:
    """Whether a word is known with a capital only: `J. Bach` is one name."""
    return word.lower() not in OPENERS and word.lower() not in small
