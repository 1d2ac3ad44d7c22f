"""What decided, as it stands in a bundle's files: a rule, or an agreement, with its file, line and text.

Where it begins and ends is what the YAML parser says of it, and not a guess by indentation: a dash may stand on a line
of its own, a list no deeper than its key, a text over several lines, all of it in braces. Lines of the file are given
whole, but for what stands in braces: that is given from brace to brace. Comments and blank lines within are part of
it, those after it are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml
from signalfire.v1 import officer_pb2
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from policy import yaml_source
from policy.limits import DEFAULT_LIMITS

_POLICY = "policy.yaml"


def rule_text(files: Mapping[str, bytes], partner: str, rule: str) -> officer_pb2.RuleText | None:
    """The rule of that name in the policy towards a partner; None where the files hold none."""
    path = f"partners/{partner}.yaml"
    source, tree = _read(files, path)
    for _, rules in _entries(tree, "rules"):
        for item in rules.value if isinstance(rules, SequenceNode) else ():
            if any(isinstance(name, ScalarNode) and name.value == rule for _, name in _entries(item, "name")):
                return _text(path, source, rule, item, _dash(source, item))
    return None


def agreement_text(files: Mapping[str, bytes], agreement: str) -> officer_pb2.RuleText | None:
    """The agreement of that name; None where the files hold none."""
    source, tree = _read(files, _POLICY)
    for _, agreements in _entries(tree, "agreements"):
        for key, value in _entries(agreements, agreement):
            return _text(_POLICY, source, agreement, value, key.start_mark.line, key)
    return None


def _read(files: Mapping[str, bytes], path: str) -> tuple[str, Node | None]:
    content = files.get(path)
    if content is None:
        return "", None
    # Read strictly first: what is composed below has neither aliases nor tags, and no line ends but these.
    if yaml_source.read(path, content, DEFAULT_LIMITS)[0] is None:
        return "", None
    source = content.decode("utf-8").removeprefix("\ufeff")
    return source, yaml.compose(source, Loader=yaml.SafeLoader)


def _entries(node: Node | None, name: str) -> Iterator[tuple[Node, Node]]:
    """The entry of that name of a mapping: its key and its value."""
    for key, value in node.value if isinstance(node, MappingNode) else ():
        if key.value == name:
            yield key, value


def _text(path: str, source: str, name: str, node: Node, line: int, key: Node | None = None) -> officer_pb2.RuleText:
    """From line number `line` (0 the first) up to the end of a node."""
    last = _last(node)
    end = last.end_mark.index
    in_braces = _is_flow(node) and (key is None or key.start_mark.line == node.start_mark.line)
    begins = (node if key is None else key).start_mark
    lines = source.split("\n")
    if in_braces and lines[line][: begins.column].strip(" -"):
        # Something else stands before it on its line.
        return officer_pb2.RuleText(path=path, line=begins.line + 1, rule=name, text=source[begins.index : end])
    # A block scalar ends only where the next thing begins; a comment behind the last value is on its line.
    shown = lines[line : source[:end].rstrip().count("\n") + 1]
    depth = len(lines[line]) - len(lines[line].lstrip(" "))
    text = "\n".join(each[depth:] if not each[:depth].strip() else each for each in (s.rstrip("\r") for s in shown))
    return officer_pb2.RuleText(path=path, line=line + 1, rule=name, text=text)


def _last(node: Node) -> Node:
    """What stands last in a node. The parser ends a block collection only where the next thing begins."""
    while not _is_flow(node) and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, MappingNode) else last
    return node


def _is_flow(node: Node) -> bool:
    """Whether a node ends where its own text does: what stands in braces, and every scalar."""
    return not isinstance(node, CollectionNode) or bool(node.flow_style)


def _dash(source: str, item: Node) -> int:
    """The line of an item's dash: its own, or one above it, between which there are blank lines and comments alone."""
    lines = source.split("\n")
    at: int = item.start_mark.line
    if item.start_mark.column and "-" not in lines[at][: item.start_mark.column]:
        above = at
        while above > 0 and not lines[above].lstrip().startswith("-"):
            above -= 1
            if (told := lines[above].strip()) and not told.startswith(("#", "-")):
                return at
        return above
    return at
