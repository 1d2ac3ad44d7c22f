"""One way to lay a policy file out: the same keys in the same order, the same space, every comment kept. Pure: no I/O.

Rules, in order:

1. Keys stand in the order in which docs/policy.md teaches them; names that an officer gave keep their order.
2. A comment above a key goes where the key goes; one behind it stays behind it.
3. A level of mapping is two spaces, and a list stands two spaces inside its key. Two spaces stand before a comment
   that follows a value, no space stands at the end of a line, at most one empty line between two others.
4. An empty line stands before each section of ``policy.yaml``, and before each rule, invariant and case but the first.
5. Nothing else changes: what the file says is read before and after, and where anything but the order of keys differs
   the file is refused. Values, quotes and lines inside a value stand as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from policy import yaml_source
from policy.errors import PolicyError, Problem
from policy.limits import DEFAULT_LIMITS, Limits
from policy.yaml_source import plain

Node = MappingNode | SequenceNode | ScalarNode

POLICY_KEYS: Final = ("node", "posture", "agreements", "countries", "areas", "field_sets", "equivalences")
AGREEMENT_KEYS: Final = ("title", "basis", "parties", "from", "until", "kinds")
PARTNER_KEYS: Final = ("partner", "rules")
RULE_KEYS: Final = (
    *("name", "effect", "reason", "kinds", "traffic_classes", "posture", "originators", "ceiling", "agreement", "when"),
    *("fields", "coarsen", "hold_s", "remark"),
)
INVARIANT_KEYS: Final = (
    *("name", "reason", "partners", "kinds", "traffic_classes", "postures", "never", "fields"),
    "sent_classification_above",
)
CASES_KEYS: Final = ("now", "posture", "cases")
CASE_KEYS: Final = (
    *("name", "partner", "report", "report_json", "posture", "now", "accepted", "clock_trusted", "suspended", "had"),
    "expect",
)
REPORT_KEYS: Final = ("kind", "like", "set", "unset")
EXPECT_KEYS: Final = ("outcome", "rule", "fields", "absent", "values", "hold_until", "error")
_ORDERS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (r"policy", POLICY_KEYS),
    (r"policy/agreements/[^/]+", AGREEMENT_KEYS),
    (r"policy/areas/[^/]+", ("circle", "polygon", "geojson")),
    (r"policy/areas/[^/]+/circle", ("centre", "radius_m")),
    (r"partners", PARTNER_KEYS),
    (r"partners/rules/\d+", RULE_KEYS),
    (r"partners/rules/\d+/coarsen", ("position", "velocity_mps", "time_s")),
    (r"partners/rules/\d+/remark", ("classification", "add_caveats", "onward_release")),
    (r"invariants", ("invariants",)),
    (r"invariants/invariants/\d+", INVARIANT_KEYS),
    (r"cases", CASES_KEYS),
    (r"cases/cases/\d+", CASE_KEYS),
    (r"cases/cases/\d+/report", REPORT_KEYS),
    (r"cases/cases/\d+/expect", EXPECT_KEYS),
)
_SPACED: Final = re.compile(
    r"policy/(agreements|countries|areas|field_sets|equivalences)|(partners/rules|invariants/invariants|cases/cases)/\d+"
)
"""What an empty line stands before, but for the first of a list."""

_INDENT: Final = 2


def formatted(file: str, content: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The content of ``file`` (its path inside a bundle) laid out in the one way.

    Raises PolicyError where the file cannot be read, or cannot be laid out so that it says the same.
    """
    deep = replace(limits, depth=limits.depth + 4)
    before, problems = yaml_source.read(file, content, deep)
    if problems or before is None:
        raise PolicyError(problems)
    lines = content.decode().replace("\r\n", "\n").split("\n")
    root = yaml.compose("\n".join(lines), Loader=yaml.CSafeLoader)
    laid_out = lines
    if isinstance(root, MappingNode | SequenceNode):
        laid_out = _Layout(lines).document(root, file.partition("/")[0].removesuffix(".yaml"))
    result = ("\n".join(laid_out) + "\n").encode()
    after, problems = yaml_source.read(file, result, deep)
    if problems or after is None or plain(before) != plain(after) or _comments(lines) != _comments(laid_out):
        what = "The file cannot be laid out so that it surely says the same."
        raise PolicyError([Problem(file, 0, what, "Write lists in brackets and mappings as key: value lines.")])
    return result


def _comments(lines: Sequence[str]) -> Counter[str]:
    """What stands behind any ``#``, whether that begins a comment or not: nothing of it may get lost."""
    return Counter(line.partition("#")[2].strip() for line in lines if "#" in line)


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _is_comment(line: str) -> bool:
    return line.lstrip(" ").startswith("#")


@dataclass(frozen=True, slots=True)
class _Layout:
    lines: Sequence[str]

    def document(self, root: MappingNode | SequenceNode, name: str) -> list[str]:
        """The whole file. What stands above the first key is the file's heading, and stays there."""
        first = root.start_mark.line
        heading = self.above(0, first)
        if heading and not self.lines[first - 1].strip():
            heading.append("")
        if root.flow_style:
            return list(self.lines)
        body = self.block(root, name, first, len(self.lines), 0)
        while body and not body[-1]:
            body.pop()
        return [*heading, *body]

    def above(self, start: int, end: int) -> list[str]:
        """The lines above a key, without indent: comments, with at most one empty line between two of them, and one
        empty line before them where there was any."""
        found: list[str] = []
        for line in self.lines[start:end]:
            text = line.strip()
            if text or (not found or found[-1]):
                found.append(text)
        while found and not found[-1]:
            found.pop()
        blank = start < end and not self.lines[start].strip()
        return found if found or not blank else [""]

    def block(self, node: MappingNode | SequenceNode, path: str, start: int, end: int, indent: int) -> list[str]:
        """A mapping or list in lines of its own. Its region are the lines from ``start`` to before ``end``."""
        return (
            self.mapping(node, path, start, end, indent)
            if isinstance(node, MappingNode)
            else self.listing(node, path, start, end, indent)
        )

    def regions(self, starts: Sequence[int], column: int, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Of entries that begin at these lines: where what stands above each begins, its own line, and its end."""
        tops = [start]
        for place, line in enumerate(starts[1:], start=1):
            top = line
            while top - 1 > starts[place - 1] and (
                not self.lines[top - 1].strip()
                or (_is_comment(self.lines[top - 1]) and _indent_of(self.lines[top - 1]) <= column)
            ):
                top -= 1
            tops.append(top)
        yield from zip(tops, starts, [*tops[1:], end], strict=True)

    def tail(self, line: int, column: int, end: int) -> int:
        """Where the comments begin that stand below the last entry and belong to no entry; ``line`` is that entry's."""
        start = end
        while start - 1 > line and (
            not self.lines[start - 1].strip()
            or (_is_comment(self.lines[start - 1]) and _indent_of(self.lines[start - 1]) <= column)
        ):
            start -= 1
        return start if any(text.strip() for text in self.lines[start:end]) else end

    def mapping(self, node: MappingNode, path: str, start: int, end: int, indent: int) -> list[str]:
        column = node.value[0][0].start_mark.column
        starts = [key.start_mark.line for key, _ in node.value]
        tail = self.tail(starts[-1], column, end)
        entries = []
        for (key, value), (top, line, stop) in zip(node.value, self.regions(starts, column, start, tail), strict=True):
            inner = f"{path}/{key.value}"
            entries.append((key.value, inner, self.above(top, line), self.entry(key, value, inner, stop, indent)))
        order = next((keys for pattern, keys in _ORDERS if re.fullmatch(pattern, path)), ())
        if order:
            entries.sort(key=lambda entry: order.index(entry[0]) if entry[0] in order else len(order))
        stacked = self.stacked(((inner, above, lines) for _, inner, above, lines in entries), indent)
        return [*stacked, *self.below(tail, end, indent)]

    def listing(self, node: SequenceNode, path: str, start: int, end: int, indent: int) -> list[str]:
        dashes = [self.dash(item) for item in node.value]
        column = _indent_of(self.lines[dashes[0]]) if dashes else 0
        tail = self.tail(dashes[-1], column, end) if dashes else end
        items = []
        for place, (top, line, stop) in enumerate(self.regions(dashes, column, start, tail)):
            items.append(
                (
                    f"{path}/{place}",
                    self.above(top, line),
                    self.item(node.value[place], line, stop, indent, f"{path}/{place}"),
                )
            )
        return [*self.stacked(items, indent), *self.below(tail, end, indent)]

    def below(self, start: int, end: int, indent: int) -> list[str]:
        """The comments below the last entry, an empty line before them where there was any."""
        found = [" " * indent + line if line else "" for line in self.above(start, end)]
        return ["", *found] if found and start < end and not self.lines[start].strip() and found[0] else found

    def stacked(self, entries: Iterable[tuple[str, list[str], list[str]]], indent: int) -> list[str]:
        found: list[str] = []
        for path, above, lines in entries:
            comments = [line for place, line in enumerate(above) if line or place]
            if found and ((above and not above[0]) or _SPACED.fullmatch(path)):
                found.append("")
            found += [" " * indent + line if line else "" for line in comments]
            found += lines
        return found

    def entry(self, key: ScalarNode, value: Node, path: str, stop: int, indent: int) -> list[str]:
        line = key.start_mark.line
        name = self.lines[line][key.start_mark.column : key.end_mark.column]
        colon = self.lines[line].index(":", key.end_mark.column)
        inline, below = self.value(value, path, line, colon + 1, stop, key.start_mark.column, indent)
        return [f"{' ' * indent}{name}:{inline}", *below]

    def item(self, node: Node, line: int, stop: int, indent: int, path: str) -> list[str]:
        dash = self.lines[line].index("-")
        if not isinstance(node, ScalarNode) and not node.flow_style:
            within = self.block(node, path, line if node.start_mark.line == line else line + 1, stop, indent + _INDENT)
            first = next(place for place, text in enumerate(within) if text and not _is_comment(text))
            above = [text.removeprefix(" " * _INDENT) for text in within[:first]]
            return [*above, f"{' ' * indent}- {within[first].lstrip(' ')}", *within[first + 1 :]]
        inline, below = self.value(node, path, line, dash + 1, stop, dash, indent)
        return [f"{' ' * indent}-{inline}", *below]

    def value(
        self, node: Node, path: str, line: int, after: int, stop: int, column: int, indent: int
    ) -> tuple[str, list[str]]:
        """What stands behind a key or dash on its own line, with a space before it, and the lines below.

        ``line`` and ``after`` are where the colon or dash ends, ``column`` where its entry begins.
        """
        rest = self.lines[line][after:]
        if not isinstance(node, ScalarNode) and not node.flow_style:
            comment = f"  {rest.strip()}" if rest.strip() else ""
            return comment, self.block(node, path, line + 1, stop, indent + _INDENT)
        if isinstance(node, ScalarNode) and node.style in ("|", ">"):
            last = stop - 1
            while last > line and not self.lines[last].strip() and not rest.strip().endswith("+"):
                last -= 1
            written = [_indent_of(text) for text in self.lines[line + 1 : last + 1] if text.strip()]
            if written and not re.search(r"\d", rest.partition("#")[0]):
                column, indent = min(written), indent + _INDENT
            return f" {rest.strip()}", self.moved(line + 1, last + 1, column, indent, strip=False)
        last = node.end_mark.line
        if last == line:
            text = self.lines[line][after : node.end_mark.column].strip()
            comment = self.lines[line][node.end_mark.column :].strip()
            first = f" {text}{f'  {comment}' if comment else ''}" if text or comment else ""
        else:
            first = f" {rest.strip()}" if rest.strip() else ""
        trailing = [f"{' ' * indent}{text.strip()}" for text in self.lines[last + 1 : stop] if text.strip()]
        return first, [*self.moved(line + 1, last + 1, column, indent, strip=True), *trailing]

    def moved(self, start: int, end: int, column: int, indent: int, *, strip: bool) -> list[str]:
        """Lines inside a value, moved with the entry that they belong to."""
        found = []
        for line in self.lines[start:end]:
            text = " " * max(_indent_of(line) + indent - column, 0) + line.lstrip(" ")
            found.append(text.rstrip() if strip or not line.strip() else text)
        return found

    def dash(self, item: Node) -> int:
        """The line of the dash before an item."""
        line: int = item.start_mark.line
        while not self.lines[line].lstrip(" ").startswith("-"):
            line -= 1
        return line
