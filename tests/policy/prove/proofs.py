"""Small bundles to prove things of."""

from __future__ import annotations

from signalfire.v1 import report_pb2

from gateway.reports.validate import validate_submitted
from policy import Bundle, compile_bundle
from policy.prove import Counterexample, Status, Verdict, prove
from policy.prove.verdict import ProofSettings
from tests.policy.bundles import POLICY, RULE, partner_file
from tests.policy.prove.valid_reports import LIMITS

SETTINGS = ProofSettings(timeout_ms=20_000)
PRK = 'report.threat.launch_country == "PRK"'


def bundle(
    *rules: dict[str, str], invariants: str = "", policy: str = POLICY, partners: tuple[str, ...] = ("KOR",)
) -> Bundle:
    """JPN's bundle with these rules for each partner, and these invariants: each the keys of one, on lines."""
    files = {"policy.yaml": policy.encode()}
    files |= {f"partners/{code}.yaml": partner_file(*rules, partner=code).encode() for code in partners}
    if invariants:
        files["invariants.yaml"] = f"invariants:\n{invariants}".encode()
    return compile_bundle(files)


def invariant(name: str = "an-invariant", partners: str = "all", **keys: str) -> str:
    """One invariant."""
    lines = {"reason": "Because", "partners": partners, **keys}
    return "\n".join([f"  - name: {name}", *(f"    {key}: {value}" for key, value in lines.items())]) + "\n"


def never(text: str, **keys: str) -> str:
    """One invariant with this condition, about Tracks."""
    return invariant(kinds="[Track]", never="|\n      " + text, **keys)


def track_rule(when: str = "", **changed: str) -> dict[str, str]:
    """A rule that releases Tracks."""
    said = {"when": "|\n      " + when} if when else {}
    return RULE | {"kinds": "[Track]"} | said | changed


def verdict(*rules: dict[str, str], invariants: str, policy: str = POLICY) -> Verdict:
    """What becomes of the one invariant."""
    (found,) = prove(bundle(*rules, invariants=invariants, policy=policy), SETTINGS)
    return found


def example(found: Verdict) -> Counterexample:
    """The counterexample of an invariant that was refuted, after a gateway was asked whether it is valid."""
    assert found.status is Status.REFUTED
    assert found.counterexample is not None
    check_valid(found.counterexample)
    return found.counterexample


def check_valid(found: Counterexample) -> report_pb2.Report:
    """The report, which a gateway would take from a C2 system at that time."""
    now = int(found.now.timestamp()) * 10**9
    assert not validate_submitted(found.report, node="JPN", now=now, limits=LIMITS)
    return found.report
