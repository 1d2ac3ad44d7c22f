"""Strict YAML: text in, a tree of texts with line numbers out. No I/O.

A policy file uses a part of YAML 1.2 in which a line can be read in one way only. Rules, in order:

1. The file is UTF-8, at most ``Limits.file_bytes`` bytes, and holds no invisible character (Unicode categories
   Cc and Cf, but for line ends): what an officer cannot see, he cannot approve.
2. It is one document, without a ``%`` directive, nested at most ``Limits.depth`` deep.
3. Anchors, aliases, merge keys (``<<``) and tags are refused: every value stands where it is used.
4. A key is a text, and stands once in its mapping.
5. Every scalar is text. What is a date or a country is for the document's model to say, so that the country
   code ``NO`` never becomes false and the rule name ``2023`` never a number.

Parsing is libyaml, through PyYAML, used for its events alone: nothing is constructed from them but the tree below.
libyaml reads YAML 1.1; what 1.2 reads otherwise are the types of scalars, which are all text here, and invisible line
breaks, which rule 1 refuses. The tree is built as the events come, so that a refusal stops the reading.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from policy.errors import Problem
from policy.limits import Limits


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar.

    ``line`` is where it begins and ``first_line`` where its first line of text is; ``literal`` says whether its
    lines are those of the file (a ``|`` block).
    """

    value: str
    line: int
    first_line: int
    literal: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping, its keys in the order of the file."""

    entries: dict[str, Node]
    key_lines: dict[str, int]
    line: int


_NO_TAGS = 'Take the tag out; a condition that begins with "!" stands in quotes or under "when: |".'
_CHECK_SYNTAX = "Check quotes, colons and indentation."

Node = Text | Listing | Mapping

Plain = str | list["Plain"] | dict[str, "Plain"]
"""The same tree without lines."""


def plain(node: Node) -> Plain:
    """The tree without its lines."""
    match node:
        case Text(value=value):
            return value
        case Listing(items=items):
            return [plain(item) for item in items]
        case Mapping(entries=entries):
            return {key: plain(value) for key, value in entries.items()}


def line_of(node: Node, path: tuple[str | int, ...]) -> int:
    """The line of what stands at ``path``: of a key, the key's own.

    Steps that the tree does not have are passed over, so that the path of a missing key gives the line of the
    mapping that lacks it.
    """
    line = node.line
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            line = node.key_lines[str(step)]
            node = node.entries[str(step)]
        elif isinstance(node, Listing) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            line = node.line
    return line


class _UnreadableError(Exception):
    """The rest of the file cannot be made sense of."""


@dataclass(slots=True)
class _Reader:
    file: str
    limits: Limits
    problems: list[Problem] = field(default_factory=list)

    def report(self, line: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, line, what, remedy))

    def document(self, events: Iterator[Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.report(_line(event), "A second document begins here.", "Keep one document a file.")
                    raise _UnreadableError
                if event.version is not None or event.tags:
                    self.report(1, "The file has a % directive.", "Take it out: policy files are YAML 1.2.")
            elif isinstance(event, AliasEvent | ScalarEvent | SequenceStartEvent | MappingStartEvent):
                root = self.node(event, events, 1)
        return root

    def node(self, event: Event, events: Iterator[Event], depth: int) -> Node:
        line = _line(event)
        if depth > self.limits.depth:
            self.report(line, f"The document is nested more than {self.limits.depth} deep.", "Flatten it.")
            raise _UnreadableError
        if isinstance(event, AliasEvent):
            self.report(line, f'"*{event.anchor}" is an alias.', "Write the value out where it is used.")
            return Text("", line, line, False)
        if not isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent):
            raise TypeError(f"unexpected YAML event {type(event).__name__}")
        if event.anchor is not None:
            self.report(line, f'"&{event.anchor}" is an anchor.', "Take it out, and write the values out.")
        if event.tag is not None:
            self.report(line, f'The value has the tag "{event.tag}".', _NO_TAGS)
        if isinstance(event, SequenceStartEvent):
            return self.listing(events, line, depth)
        if isinstance(event, MappingStartEvent):
            return self.mapping(events, line, depth)
        block = event.style in ("|", ">")
        return Text(str(event.value), line, line + 1 if block else line, event.style == "|")

    def listing(self, events: Iterator[Event], line: int, depth: int) -> Listing:
        items: list[Node] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self.node(event, events, depth + 1))
        return Listing(tuple(items), line)

    def mapping(self, events: Iterator[Event], line: int, depth: int) -> Mapping:
        entries: dict[str, Node] = {}
        key_lines: dict[str, int] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not isinstance(key, Text):
                self.report(key.line, "A list or mapping stands as a key.", "A key is a word followed by a colon.")
            elif key.value == "<<":
                self.report(key.line, 'The merge key "<<" is not allowed.', "Write the values out where they are used.")
            elif key.value in entries:
                first = key_lines[key.value]
                self.report(
                    key.line, f'The key "{key.value}" stands twice (first at line {first}).', "Take one of the two out."
                )
            else:
                entries[key.value] = value
                key_lines[key.value] = key.line
        return Mapping(entries, key_lines, line)


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _decode(content: bytes, reader: _Reader) -> str:
    if len(content) > reader.limits.file_bytes:
        reader.report(
            0,
            f"The file has more than {reader.limits.file_bytes:,} bytes.",
            "Shorten it: share what repeats in a field set or a list, or split it.",
        )
        raise _UnreadableError
    if content.startswith("\ufeff".encode()):
        reader.report(1, "The file begins with a byte order mark (BOM).", "Save it as UTF-8 without BOM.")
        raise _UnreadableError
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reader.report(line, "The file is not UTF-8.", "Save it as UTF-8.")
        raise _UnreadableError from error
    for number, row in enumerate(text.split("\n"), start=1):
        for character in row.removesuffix("\r"):
            if unicodedata.category(character) in ("Cc", "Cf") or character in "\u2028\u2029":
                what = f"The line holds the invisible character U+{ord(character):04X}."
                reader.report(number, what, "Take it out; for a tab, use spaces.")
                raise _UnreadableError
    return text


def read(file: str, content: bytes, limits: Limits) -> tuple[Node | None, list[Problem]]:
    """Reads one file's content.

    Gives the tree, or None where there is none to work on (an empty or unreadable file), and every problem
    found. Where there are problems the tree is good for finding more of them, never for use.
    """
    reader = _Reader(file, limits)
    node: Node | None = None
    try:
        text = _decode(content, reader)
        node = reader.document(iter(yaml.parse(text, Loader=yaml.CSafeLoader)))
        if node is None:
            reader.report(0, "The file is empty.", "Write the policy into it, or take the file away.")
    except _UnreadableError:
        node = None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be read"
        reader.report(mark.line + 1 if mark else 0, f"This is not YAML: {problem}.", _CHECK_SYNTAX)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.report(line, f"This is not YAML: {error.reason}.", "Take the character out.")
    except YAMLError as error:
        reader.report(0, f"This is not YAML: {error}.", _CHECK_SYNTAX)
    return node, reader.problems
