"""Small bundles for the tests of the policy."""

from __future__ import annotations

import pytest

from policy import Bundle, PolicyError, Problem, compile_bundle

POLICY = """\
node: JPN
posture: ROUTINE
agreements:
  treaty:
    title: A treaty
    basis: Signed and ratified
    parties: [JPN, KOR]
    from: 2024-01-01
    until: 2025-01-01
    kinds: [LaunchDetection, Track, ImpactPrediction]
field_sets:
  warning: [envelope@1, threat@1, launch@1, track@1, impact@1, recall@1]
"""

RULE = {
    "name": "a-rule",
    "effect": "release",
    "reason": "Because",
    "kinds": "[LaunchDetection, Track]",
    "traffic_classes": "[LIVE]",
    "ceiling": "SECRET",
    "fields": "[warning]",
}

WITHHOLD = {
    "name": "keep-back",
    "effect": "withhold",
    "reason": "Because not",
    "kinds": "[LaunchDetection, Track]",
    "traffic_classes": "[LIVE]",
}


def partner_file(*rules: dict[str, str], partner: str = "KOR") -> str:
    """A partner's file with these rules, each key on a line of its own."""
    lines = [f"partner: {partner}", "rules:" if rules else "rules: []"]
    for rule in rules:
        for index, (key, value) in enumerate(rule.items()):
            lines.append(f"{'  - ' if index == 0 else '    '}{key}: {value}")
    return "\n".join(lines) + "\n"


def compiled(*rules: dict[str, str], policy: str = POLICY) -> Bundle:
    """JPN's bundle with these rules for KOR."""
    return compile_bundle({"policy.yaml": policy.encode(), "partners/KOR.yaml": partner_file(*rules).encode()})


def problems_of(files: dict[str, str]) -> tuple[Problem, ...]:
    """Everything that is wrong with these files, of which something must be."""
    with pytest.raises(PolicyError) as caught:
        compile_bundle({name: content.encode() for name, content in files.items()})
    assert caught.value.problems
    return caught.value.problems


def problem_of(partner: str, policy: str = POLICY) -> Problem:
    """The one thing that is wrong with a bundle that has this file for KOR."""
    found = problems_of({"policy.yaml": policy, "partners/KOR.yaml": partner})
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def problem_of_rule(**changed: str) -> Problem:
    """The one thing that is wrong with a rule that is right but for what is changed."""
    return problem_of(partner_file(RULE | changed))


def without(rule: dict[str, str], *keys: str) -> dict[str, str]:
    """The rule without these keys."""
    return {key: value for key, value in rule.items() if key not in keys}
