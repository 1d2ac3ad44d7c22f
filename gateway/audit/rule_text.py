"""What decided, as it stands in a bundle's files: a rule, or an agreement, with its file, line and text.

A policy file is strict YAML (`policy.yaml_source`), in which what belongs to a key or an item is indented deeper than
that is. So a rule is the lines from its dash to the next line that is indented no deeper; blank lines and comments in
between are its own, those after it are not.
"""

from __future__ import annotations

from collections.abc import Mapping

from signalfire.v1 import officer_pb2

from policy import yaml_source
from policy.limits import DEFAULT_LIMITS
from policy.yaml_source import Listing, Node, Text
from policy.yaml_source import Mapping as YamlMapping

_POLICY = "policy.yaml"


def rule_text(files: Mapping[str, bytes], partner: str, rule: str) -> officer_pb2.RuleText | None:
    """The rule of that name in the policy towards a partner; None where the files hold none."""
    path = f"partners/{partner}.yaml"
    tree = _tree(files, path)
    rules = tree.entries.get("rules") if isinstance(tree, YamlMapping) else None
    for item in rules.items if isinstance(rules, Listing) else ():
        if not isinstance(item, YamlMapping):
            continue
        name = item.entries.get("name")
        if isinstance(name, Text) and name.value == rule:
            return _text(files, path, item.line, rule)
    return None


def agreement_text(files: Mapping[str, bytes], agreement: str) -> officer_pb2.RuleText | None:
    """The agreement of that name; None where the files hold none."""
    tree = _tree(files, _POLICY)
    agreements = tree.entries.get("agreements") if isinstance(tree, YamlMapping) else None
    if not isinstance(agreements, YamlMapping) or agreement not in agreements.key_lines:
        return None
    return _text(files, _POLICY, agreements.key_lines[agreement], agreement)


def _tree(files: Mapping[str, bytes], path: str) -> Node | None:
    content = files.get(path)
    return None if content is None else yaml_source.read(path, content, DEFAULT_LIMITS)[0]


def _text(files: Mapping[str, bytes], path: str, line: int, name: str) -> officer_pb2.RuleText:
    # Strict YAML was read from it, so it is UTF-8; and it has no line ends but these.
    lines = files[path].decode("utf-8").split("\n")
    first = lines[line - 1]
    depth = _depth(first)
    end = line
    for at in range(line, len(lines)):
        inside = lines[at].strip()
        if not inside or inside.startswith("#"):
            continue
        if _depth(lines[at]) <= depth:
            break
        end = at + 1
    shown = [each.rstrip("\r") for each in lines[line - 1 : end]]
    return officer_pb2.RuleText(path=path, line=line, rule=name, text="\n".join(each[depth:] for each in shown))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
