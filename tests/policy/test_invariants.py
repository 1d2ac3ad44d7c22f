"""The invariants of a bundle: what may stand in the file, and what is told where it does not."""

from __future__ import annotations

import pytest

from policy import Kind, PolicyError, Posture, Problem, TrafficClass, compile_bundle
from tests.policy.bundles import POLICY, partner_file

GOOD = """\
invariants:
  - name: nothing-from-elsewhere
    reason: The agreement covers launches from the DPRK and no others
    partners: all
    never: |
      report.threat.launch_country != "PRK"
      || report.threat.launch_country == "UNKNOWN"
  - name: no-station
    reason: Who saw it stays at home
    partners: [KOR]
    kinds: [Track]
    traffic_classes: [LIVE]
    postures: [ROUTINE]
    fields: [source@1, set-of-ours]
    sent_classification_above: SECRET
"""
SETS = "  set-of-ours: [event_id, threat@1]\n"


def files(invariants: str) -> dict[str, bytes]:
    return {
        "policy.yaml": (POLICY + SETS).encode(),
        "partners/KOR.yaml": partner_file().encode(),
        "invariants.yaml": invariants.encode(),
    }


def problems(invariants: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyError) as caught:
        compile_bundle(files(invariants))
    return caught.value.problems


def test_an_invariant_says_what_never_happens() -> None:
    first, second = compile_bundle(files(GOOD)).invariants
    assert (first.name, first.partners, first.fields) == ("nothing-from-elsewhere", None, ())
    assert (first.kinds, first.traffic_classes) == (tuple(Kind), tuple(TrafficClass))
    assert first.condition is not None
    assert first.postures == frozenset(Posture)
    assert second.fields == (
        *("originator_station", "source_sequence", "event_id", "threat.launch_country", "threat.launch_area"),
    )
    assert (second.partners, second.postures) == (frozenset({"KOR"}), frozenset({Posture.ROUTINE}))
    assert second.kinds == (Kind.TRACK,)
    assert second.sent_classification_above == 4
    assert second.concerns("KOR")
    assert not second.concerns("USA")
    assert first.concerns("USA")


def test_invariants_are_part_of_what_is_signed() -> None:
    renamed = GOOD.replace("no-station", "no-stations")
    assert compile_bundle(files(GOOD)).digest != compile_bundle(files(renamed)).digest


@pytest.mark.parametrize(
    ("written", "changed", "line", "what"),
    [
        ("partners: [KOR]", "partners: [KRO]", 10, '"KRO" in the invariant "no-station" is no partner'),
        ("partners: [KOR]", "partners: KOR", 10, '"KOR" is not known here'),
        ("partners: [KOR]", "partners: []", 10, "is empty"),
        ("    partners: [KOR]\n", "", 8, '"partners" is missing'),
        ("kinds: [Track]", "kinds: [Tracks]", 11, '"Tracks" is not known here'),
        ("no-station", "nothing-from-elsewhere", 8, "There are two invariants"),
        ("postures: [ROUTINE]", "posture: [ROUTINE]", 13, '"posture" is not a key'),
        ("source@1", "source@9", 14, 'no built-in field set "source@9"'),
        ("source@1", "event_idd", 14, '"event_idd" is neither a field'),
        ("launch_country !=", "launch_cuntry !=", 6, 'Threat has no field "launch_cuntry"'),
        ("invariants:", "invariant:", 1, '"invariant" is not a key'),
        ("    never: |\n", "    never: 'true'\n    neverr: |\n", 6, '"neverr" is not a key'),
        ("SECRET\n", "SECRETS\n", 15, '"SECRETS" is not known here'),
    ],
)
def test_what_is_wrong_is_told_with_its_line(written: str, changed: str, line: int, what: str) -> None:
    assert GOOD.count(written) == 1
    found = problems(GOOD.replace(written, changed))
    assert any(what in problem.what and problem.line == line for problem in found), list(map(str, found))
    assert {problem.file for problem in found} == {"invariants.yaml"}


def test_an_invariant_that_forbids_everything_is_refused() -> None:
    (problem,) = problems("invariants:\n  - name: x\n    reason: r\n    partners: all\n")
    assert problem.what == 'The invariant "x" forbids every release.'


def test_the_list_may_be_empty_and_not_missing() -> None:
    assert compile_bundle(files("invariants: []\n")).invariants == ()
    assert problems("{}\n")[0].what == '"invariants" is missing.'
