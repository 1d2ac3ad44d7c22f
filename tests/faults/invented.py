"""Invented nations for fault runs: any number, all partners of each other, each under a policy that is written here.

The policy is the same for everyone and so plain that a few lines in `expected` say what it must do with a report. These
lines are the oracle: what subscribers receive is held against them, and not against what a gateway says it decided.

- Technical tests stay at home.
- Nothing about a launch from elsewhere than PRK goes to anybody.
- A report whose `threat.launch_area` names a partner after `NOT-FOR-` does not go to that partner.
- Of a prediction the partner has the copy `HOLD_S` later.
- The station that saw it, and its sequence, stay at home; recalls go to whoever had what they recall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import report_pb2

from gateway.demo.deployment import PUSHER, READER, Deployed, deploy
from gateway.identity import issuing

CODES: Final = ("JPN", "KOR", "USA", "AUS", "CAN", "GBR", "NOR", "PHL")
"""Nations of a run, the first so many of these. The policies are invented for all of them."""

SECOND: Final = "more-sensors"
"""The second C2 system of a nation that pushes."""

NOT_FOR: Final = "NOT-FOR-"
"""In `threat.launch_area`, before the code of a partner who is not to have the report."""

MARKER: Final = "STAYS-AT-HOME"
"""Begins every text that a partner must never have: it is looked for everywhere that is not its own nation's."""

HOLD_S: Final = 2.0
"""Seconds for which the copy of a prediction waits."""

_KINDS: Final = "[LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]"

_POLICY: Final = """\
node: {node}
posture: ROUTINE
agreements:
  warning:
    title: Exchange of missile-warning data
    basis: Invented for tests
    parties: [{parties}]
    from: 2024-01-01
    until: 2044-01-01
    kinds: {kinds}
countries:
  covered: [PRK]
field_sets:
  warning: [envelope@1, threat@1, references@1, launch@1, track@1, impact@1]
"""

_PARTNER: Final = """\
partner: {partner}
rules:
  - name: tests-stay-at-home
    effect: withhold
    reason: Tests concern nobody else
    kinds: {kinds}
    traffic_classes: [TEST]
  - name: not-for-this-partner
    effect: withhold
    reason: The originator said so
    kinds: [LaunchDetection, Track, ImpactPrediction]
    traffic_classes: [LIVE, EXERCISE]
    when: report.threat.launch_area == "{not_for}{partner}"
  - name: warning
    effect: release
    reason: The agreement covers it
    kinds: [LaunchDetection, Track]
    traffic_classes: [LIVE, EXERCISE]
    ceiling: SECRET
    agreement: warning
    when: report.threat.launch_country in countries.covered
    fields: [warning]
  - name: prediction-a-little-later
    effect: release
    reason: The agreement covers it, and predictions are looked at first
    kinds: [ImpactPrediction]
    traffic_classes: [LIVE, EXERCISE]
    ceiling: SECRET
    agreement: warning
    when: report.threat.launch_country in countries.covered
    fields: [warning]
    hold_s: {hold_s:g}
  - name: recall
    effect: release
    reason: Whoever was warned is told when the warning no longer stands
    kinds: [Correction, Cancellation, AllClear]
    traffic_classes: [LIVE, EXERCISE]
    ceiling: SECRET
    agreement: warning
    when: report.threat.launch_country in countries.covered
    fields: [envelope@1, threat@1, recall@1]
"""

_INVARIANTS: Final = """\
invariants:
  - name: tests-never-leave
    reason: A technical test must not be taken for a warning
    partners: all
    never: report.traffic_class == TrafficClass.TRAFFIC_CLASS_TEST
"""


def settle(
    directory: Path,
    nodes: Sequence[str],
    *,
    now: datetime,
    limits: Mapping[str, Mapping[str, object]] | None = None,
) -> dict[str, Deployed]:
    """Writes the deployment of these nations; `limits` are settings of every configuration, by section."""
    policies = {}
    for node in nodes:
        policies[node] = directory / "policies" / node.lower()
        _write_policy(policies[node], node, [other for other in nodes if other != node])
    sections: dict[str, Any] = {name: dict(section) for name, section in (limits or {}).items()}
    places = deploy(directory, policies, now=now, max_age_s=3600, changes={"clients": _CLIENTS, "limits": sections})
    for place in places.values():
        issuing.issue_c2(place.directory / "pki", SECOND, place.directory / "c2" / SECOND, now=now)
    return places


def expected(report: report_pb2.Report, partner: str) -> bool:
    """Whether the policy releases this report, no recall, to this partner, at once or later."""
    return (
        report.originator_node != partner
        and report.traffic_class != report_pb2.TRAFFIC_CLASS_TEST
        and report.threat.launch_country == "PRK"
        and report.threat.launch_area != NOT_FOR + partner
    )


def _write_policy(directory: Path, node: str, partners: Sequence[str]) -> None:
    (directory / "partners").mkdir(parents=True)
    (directory / "policy.yaml").write_text(
        _POLICY.format(node=node, parties=", ".join(sorted((node, *partners))), kinds=_KINDS), encoding="utf-8"
    )
    (directory / "invariants.yaml").write_text(_INVARIANTS, encoding="utf-8")
    for partner in partners:
        text = _PARTNER.format(partner=partner, kinds=_KINDS, not_for=NOT_FOR, hold_s=HOLD_S)
        (directory / "partners" / f"{partner}.yaml").write_text(text, encoding="utf-8")


def _pushes() -> dict[str, Any]:
    """What a C2 system that pushes may."""
    return {
        "push": {
            "stations": ["*"],
            "kinds": ["LaunchDetection", "Track", "ImpactPrediction", "Correction", "Cancellation", "AllClear"],
            "traffic_classes": ["LIVE", "EXERCISE", "TEST"],
            "precedences": ["FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE"],
            "ceiling": "TOP_SECRET",
        }
    }


_CLIENTS: Final[Mapping[str, Any]] = {
    PUSHER: _pushes(),
    SECOND: _pushes(),
    READER: {"read": {"traffic_classes": ["LIVE", "EXERCISE", "TEST"], "ceiling": "TOP_SECRET", "caveats": []}},
}
