r"""One spelling for answers that differ only in how they are typeset.

The rules are those of the official MATH scorer (hendrycks/math, modeling/math_equivalence.py) and of Minerva's
normaliser (Lewkowycz et al. 2022, appendix D), read as rules and written anew, and applied to whole LaTeX tokens.
"""

from __future__ import annotations

import re

from bai_sweep.scoring.mathematics._macros import with_braces

_SYMBOLS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{HYPHEN}": "-", "π": r"\pi ",
        "∞": r"\infty ", "°": "", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "\N{MULTIPLICATION SIGN}": r"\times ",
        "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "\N{UNION}": r"\cup ", "∈": r"\in ", "±": r"\pm ", "√": "sqrt",
        "θ": r"\theta ", "²": "^2", "³": "^3", "≈": r"\approx ", "∅": r"\emptyset ", "€": "", "£": "",
        "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    }
)  # fmt: skip
_DELIMITERS = re.compile(r"^(?:\$\$?|\\\(|\\\[)(.*?)(?:\$\$?|\\\)|\\\])$", re.DOTALL)
_MARKUP = re.compile(r"^(?:\*\*|__|`)+(.*?)(?:\*\*|__|`)+$", re.DOTALL)

# A row's end `\\` is matched first, so that its second backslash never begins a macro.
_TOKENS = re.compile(r"\\\\|\\(?:[A-Za-z]+|.)|.", re.DOTALL)
_DROPPED = {
    r"\!", r"\left", r"\right", r"\displaystyle", r"\textstyle", r"\limits", r"\big", r"\Big", r"\bigg", r"\Bigg",
    r"\bigl", r"\bigr", r"\Bigl", r"\Bigr", r"\mleft", r"\mright", r"\middle", r"\$", r"\%", "%", "$", r"\degree",
    r"\pounds", r"\euro", r"\rm", r"\bf", r"\it",
}  # fmt: skip
_SPACES = {r"\,", r"\;", r"\:", r"\ ", r"\quad", r"\qquad", "~", r"\thinspace", r"\enspace"}
_ALIKE = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\leq": r"\le", r"\leqslant": r"\le",
    r"\geq": r"\ge", r"\geqslant": r"\ge", r"\lt": "<", r"\gt": ">", r"\neq": r"\ne", r"\lbrace": r"\{",
    r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\varnothing": r"\emptyset", r"\ast": "*", r"\to": r"\to",
    r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\mid": "|", r"\div": "/", r"\colon": ":",
    r"\textbf": r"\text", r"\textit": r"\text", r"\textrm": r"\text", r"\textnormal": r"\text", r"\mbox": r"\text",
    r"\hbox": r"\text", r"\mathrm": r"\text", r"\mathbf": r"\textmath", r"\mathit": r"\textmath",
    r"\mathsf": r"\textmath",
    r"\boldsymbol": r"\textmath", r"\bm": r"\textmath", r"\operatorname": r"\textmath", r"\textsf": r"\text",
    r"\texttt": r"\text", r"\textup": r"\text", r"\emph": r"\text",
}  # fmt: skip

_CIRCLE = re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})")
_INVISIBLE_BRACKET = re.compile(r"\\(?:left|right)\s*\.")
_GROUPED = re.compile(r"(?<=\d)(?:,\s*\\!\s*|\{,\}|\\,|\\;|\\ |~)(?=\d{3}(?!\d))")
_CONJUNCTION = re.compile(r"\s*,?\s*\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}\s*,?\s*|\s*,?\s+\b(?:and|or)\b\s+")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th|\s*\^?\s*\{?\s*\\text\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?)$")

_SCALES = "hundred|thousand|million|billion|trillion|dozen"  # words that change a value, so are no units
# A lone letter in \text is a variable or i unless it is a unit's; in plain letters, a short word is a product.
_TEXT_UNIT = re.compile(
    r"(?<=[^\s,{(\[=+\-/*&\\])\s*(?:/|\\cdot\s*)?\\text\s*\{"
    rf"(?!\s*(?:{_SCALES}))(?:\s[^{{}}]*|[mgshLVWN]|[^{{}}]{{2,}})\}}(?:\s*\^\s*(?:\d|\{{\d\}}))?$"
)
_SHORT_UNITS = (
    "[ckm]?m|[km]?g|ml|ft|feet|foot|inch|mi|mile|yard|mph|lb|oz|sec|min|hr|hour|day|week|year|cent|unit|sq|cu|per|way"
)
_WORD_UNIT = re.compile(
    rf"(?:(?<=[\d}}])|(?<=\\pi))(?:\s+|(?<=\d)(?=[ckm]?m\b))"
    rf"(?:(?!(?:{_SCALES}|infinity)\b)(?:(?:{_SHORT_UNITS})s?|[A-Za-z]{{5,}})\b\.?(?:\s+|$|(?=\^)|/))+"
    r"(?:\^\s*(?:\d|\{\d\}))?$"
)

_ONLY_TEXT = re.compile(r"\\(?:text\w*|mbox|hbox|mathrm|mathbf)\s*\{([^{}]*)\}")
_TEXT = re.compile(r"\\text(?:math)?\s*\{([^{}]*)\}")
_MIXED = re.compile(r"(?<![\d.])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])")
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*(\d+|(?![A-Za-z]{2}))")
_PLAIN_PI = re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])")
_PLAIN_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:infinity|infty|oo)(?![A-Za-z])")
_UNION_LETTER = re.compile(r"(?<=[\])}])\s*U\s*(?=[\[({\\])")
_BARE_POINT = re.compile(r"(?<![\d.])\.(?=\d)")
_NEEDED_SPACE = re.compile(r"(\\[A-Za-z]+) +(?=[A-Za-z])|(\d) +(?=\d)| +")
_SMALL_SCRIPT = re.compile(r"([\^_])\{(\w)\}")
_SIGNED_INFINITY = re.compile(r"\+\s*(?=\\infty)")


def normalise(latex: str) -> str:
    r"""The answer without what typesetting, units and habits of writing add.

    Dropped: formula delimiters, `\left` and `\right`, spacing, font macros, currency, percent and degree signs,
    trailing units (`\text{ cm}^2`, `inches`), thousands separators that are marked as such (`,\!`, `{,}`, `\,`), the
    full stop. Unified: `\dfrac12`, `\tfrac{1}{2}` and `\frac 12`; `\sqrt3`; `.5`; `1 4/5`; relations, minus signs and
    other symbols in Unicode; " and " between answers, which becomes a comma.

    Returns:
        LaTeX for the other modules and for the library; two answers that come out alike are the same.
    """
    text = _bare(latex.translate(_SYMBOLS))
    text = _INVISIBLE_BRACKET.sub("", _GROUPED.sub("", text))
    text = "".join(_ALIKE.get(token, token) for token in map(_spaced, _TOKENS.findall(text)))
    text = _without_units(_CONJUNCTION.sub(", ", _CIRCLE.sub("", text)).strip())
    if "text" in text:
        text = _WORD_UNIT.sub("", _TEXT.sub(r" \1 ", text).strip())
    text = _plain_words(text)
    text = with_braces(text)
    text = _NEEDED_SPACE.sub(lambda m: f"{m[1] or m[2]} " if m[1] or m[2] else "", text.strip())
    text = _SIGNED_INFINITY.sub("", _BARE_POINT.sub("0.", text))
    return _unwrapped(_SMALL_SCRIPT.sub(r"\1\2", text).rstrip(".,;:"))


def words(latex: str) -> str | None:
    r"""The words of an answer that is nothing but text (`\text{Evelyn}`, `\text{(C)}`), in lower case; else None.

    A choice's letter comes without its brackets. Without `\text`, four letters make a word; fewer are variables.
    """
    text = _bare(latex)
    if inner := _ONLY_TEXT.fullmatch(text):
        text = inner[1].strip()
    if inner and (letter := re.fullmatch(r"\(?\s*([A-Za-z])\s*\)?\.?", text)):
        return letter[1].lower()
    if re.fullmatch(r"[A-Za-z][A-Za-z' -]*[A-Za-z]\.?" if inner else r"[A-Za-z]{4,}(?: [A-Za-z]+)*", text):
        return " ".join(text.rstrip(".").lower().split())
    return None


def _spaced(token: str) -> str:
    return "" if token in _DROPPED else " " if token in _SPACES else token


def _bare(text: str) -> str:
    """Without delimiters, markup and a full stop around it."""
    text = " ".join(text.split())  # the expressions below are quadratic in runs of spaces
    while True:
        before = text
        text = text.strip().rstrip(".,;").strip()
        for around in (_DELIMITERS, _MARKUP):
            if (match := around.match(text)) and "$" not in match[1].replace(r"\$", ""):
                text = match[1]
        if text == before:
            return text


def _without_units(text: str) -> str:
    text = _ORDINAL.sub("", text.rstrip(". "))
    for _ in range(4):  # 5 \text{ km}/\text{h}
        shorter = _WORD_UNIT.sub("", _TEXT_UNIT.sub("", text)).rstrip(". ")
        if shorter == text:
            break
        text = shorter
    return text


def _plain_words(text: str) -> str:
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _PLAIN_ROOT.sub(lambda m: rf"\sqrt{{{m[1]}}}" if m[1] else r"\sqrt ", text)
    text = _PLAIN_INFINITY.sub(r"\\infty ", _PLAIN_PI.sub(r"\\pi ", text))
    return _UNION_LETTER.sub(r"\\cup ", text)


def _unwrapped(text: str) -> str:
    """Without braces around the whole: `{10}`."""
    while text.startswith("{") and text.endswith("}") and text.count("{") == text.count("}") == 1:
        text = text[1:-1]
    return text
