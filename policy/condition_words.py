"""What the texts in a condition may be, and what it may make of them. Works on the checked tree; no I/O.

Rules, in order:

1. *Words are those that can be.* A text that ``posture``, ``partner``, ``launch_country``, ``originator_node``, an
   entry of ``releasable_to`` or ``onward_release``, or a caveat is compared with is one that it can hold.
2. *Nothing grows.* No ``+`` of texts, bytes or lists, and no ``map()`` to texts or lists: a few of them inside each
   other make a report of a few bytes fill the memory.
3. *No comments of CEL.* YAML may fold the lines of a condition into one, and ``//`` would then swallow the rest;
   comments are YAML's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from policy.checked import Call, Comprehension, Const, Expr, Ident, ListOf, Select, children
from policy.countries import NODE_CODES
from policy.errors import did_you_mean, did_you_mean_country
from policy.vocabulary import Posture

UNKNOWN: Final = "UNKNOWN"
"""What ``launch_country`` says where the originator does not know."""

Found = tuple[int, str, str]
"""Where in the condition's text, in characters; what is wrong; how to mend it."""


def found(tree: Expr, text: str) -> Iterator[Found]:
    """Everything in a condition that these rules refuse."""
    yield from _words_that_cannot_be(tree)
    yield from _growth(tree)
    yield from _comments(text)


_CODE: Final = "a country's code (ISO 3166-1 alpha-3)"
_CAVEAT: Final = re.compile(r"[A-Z0-9 _-]{1,32}")
_TEXT_FIELDS: Final[Mapping[str, Callable[[str], bool]]] = {
    "launch_country": lambda word: word in NODE_CODES or word == UNKNOWN,
    "originator_node": lambda word: word in NODE_CODES,
    "releasable_to": lambda word: word in NODE_CODES,
    "onward_release": lambda word: word in NODE_CODES,
    "caveats": lambda word: _CAVEAT.fullmatch(word) is not None,
}


def _holds_words(expr: Expr, loops: Mapping[str, str]) -> str | None:
    """What of the words of the contract a node holds: a variable's or field's name; None for any other text."""
    match expr:
        case Ident(name="posture" | "partner" as name):
            return name
        case Ident(name=name):
            return loops.get(name)
        case Select(field=field, test_only=False) if field in _TEXT_FIELDS:
            return field
        case Call(function="_[_]", args=(listed, _)):
            return _holds_words(listed, loops)
    return None


def _words_that_cannot_be(expr: Expr, loops: Mapping[str, str] = MappingProxyType({})) -> Iterator[Found]:
    match expr:
        case Comprehension():
            held = _holds_words(expr.iter_range, loops)
            inner = dict(loops) if held is None else {**loops, expr.iter_var: held}
            yield from _words_that_cannot_be(expr.iter_range, loops)
            for part in (expr.accu_init, expr.loop_condition, expr.loop_step, expr.result):
                yield from _words_that_cannot_be(part, inner)
            return
        case Call(function="_==_" | "_!=_" | "@in", args=(left, right)):
            for one, other in ((left, right), (right, left)):
                if (held := _holds_words(one, loops)) is not None:
                    for constant in other.elements if isinstance(other, ListOf) else (other,):
                        yield from _impossible(held, constant)
    for child in children(expr):
        yield from _words_that_cannot_be(child, loops)


def _impossible(held: str, constant: Expr) -> Iterator[Found]:
    if not isinstance(constant, Const) or not isinstance(constant.value, str):
        return
    word = constant.value
    if held == "posture":
        if word not in list(Posture):
            yield constant.offset, f'"{word}" is not a posture.', did_you_mean(word.upper(), Posture)
    elif held == "partner":
        if word not in NODE_CODES:
            yield constant.offset, f'"{word}" is not {_CODE}.', did_you_mean_country(word)
    elif not _TEXT_FIELDS[held](word):
        if held == "caveats":
            yield constant.offset, f'"{word}" is not a caveat.', "Caveats are of A-Z, 0-9, space, _ and -."
        else:
            also = (UNKNOWN,) if held == "launch_country" else ()
            yield constant.offset, f'"{word}" is not {_CODE}.', did_you_mean_country(word, also)


_LISTS_THAT_GROW: Final = frozenset({"list(string)", "list(bytes)"})


def _growth(expr: Expr) -> Iterator[Found]:
    match expr:
        case Comprehension(accu_init=ListOf(), loop_step=step):
            # filter() and map() append to a list, the one under a condition.
            appended = step.args[1] if isinstance(step, Call) and step.function == "_?_:_" else step
            made = appended.args[1] if isinstance(appended, Call) else appended
            match made:
                case ListOf(elements=(Ident(name=name),)):
                    is_kept = name == expr.iter_var
                case _:
                    is_kept = False
            if not is_kept and (expr.type in _LISTS_THAT_GROW or expr.type.startswith("list(list")):
                yield expr.offset, "map() makes texts or lists.", "Ask with exists(), all() or filter()."
            parts: tuple[Expr, ...] = (expr.iter_range, made)
            if appended is not step and isinstance(step, Call):
                parts = (*parts, step.args[0])
            for part in parts:
                yield from _growth(part)
            return
        case Call(function="_+_") if expr.type in ("string", "bytes") or expr.type.startswith("list"):
            yield expr.offset, "Texts or lists are joined.", "Compare each by itself."
    for child in children(expr):
        yield from _growth(child)


_LITERAL_OR_COMMENT: Final = re.compile(
    r"""[rRbB]{0,2}("{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//""",
    re.DOTALL,
)


def _comments(text: str) -> Iterator[Found]:
    for match in _LITERAL_OR_COMMENT.finditer(text):
        if match.group() == "//":
            yield (
                match.start(),
                "A comment stands in the condition.",
                "Write it as a comment of YAML, after a #, above it.",
            )
            return
