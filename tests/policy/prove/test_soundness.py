"""Whatever is proved, no report refutes: of an invariant, of a comparison, of a rule that never decides."""

from __future__ import annotations

from random import Random

import pytest

from policy import Bundle, Outcome, PolicyError
from policy.prove import Status, loosens, prove, replay, shadowed
from policy.prove.verdict import ProofSettings
from tests.policy.prove import random_policies
from tests.policy.prove.random_policies import PARTNER
from tests.policy.prove.valid_reports import LIMITS

QUICK = ProofSettings(timeout_ms=1_000, models=1, pin_ms=20)
REPORTS = 150


def a_bundle(random: Random) -> Bundle:
    while True:
        try:
            return random_policies.bundle(random)
        except PolicyError:
            continue


def test_the_random_reports_are_valid() -> None:
    from gateway.reports.validate import validate_released, validate_submitted

    random = Random(7)
    for _ in range(400):
        drawn = random_policies.drawn(random)
        report = drawn.report
        if report.originator_node == "JPN":
            now = int(drawn.circumstances.now.timestamp()) * 10**9
            assert not validate_submitted(report, node="JPN", now=now, limits=LIMITS)
        else:
            assert not validate_released(report, origin="USA", limits=LIMITS)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_proved_no_report_refutes(seed: int) -> None:
    random = Random(seed)
    bundle = a_bundle(random)
    proved = {verdict.invariant for verdict in prove(bundle, QUICK) if verdict.status is Status.PROVED}
    kept = [invariant for invariant in bundle.invariants if invariant.name in proved]
    for _ in range(REPORTS):
        drawn = random_policies.drawn(random)
        for invariant in kept:
            assert replay.violated(bundle, invariant, drawn.report, PARTNER, drawn.circumstances) is None


@pytest.mark.parametrize("seed", range(6))
def test_what_only_tightens_releases_no_more(seed: int) -> None:
    random = Random(seed)
    old = a_bundle(random)
    new = a_bundle(Random(seed + 100)) if seed % 2 else tightened(old)
    loosened = {(found.rule, found.old_rule) for found in loosens(old, new, [PARTNER], QUICK)}
    for _ in range(REPORTS):
        drawn = random_policies.drawn(random)
        after = replay.released(new, drawn.report, PARTNER, drawn.circumstances)
        if after is None:
            continue
        before = replay.released(old, drawn.report, PARTNER, drawn.circumstances)
        if before is None:
            assert (after[0].rule, "") in loosened
        elif not set(after[0].fields) <= set(before[0].fields):
            assert (after[0].rule, before[0].rule) in loosened


def tightened(old: Bundle) -> Bundle:
    """The bundle with every ceiling lower."""
    from policy import compile_bundle

    text = old.files["partners/KOR.yaml"].decode().replace("ceiling: TOP_SECRET", "ceiling: SECRET")
    return compile_bundle({**old.files, "partners/KOR.yaml": text.encode()})


@pytest.mark.parametrize("seed", range(4))
def test_a_rule_that_never_decides_never_decides(seed: int) -> None:
    random = Random(seed)
    bundle = a_bundle(random)
    never = {found.rule for found in shadowed(bundle, QUICK)}
    for _ in range(REPORTS):
        drawn = random_policies.drawn(random)
        decision = bundle.decide(drawn.report, PARTNER, drawn.circumstances)
        assert decision.outcome is Outcome.WITHHELD or decision.rule not in never
