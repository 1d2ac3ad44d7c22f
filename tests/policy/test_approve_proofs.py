"""Orders that are judged by the proofs themselves, and the time that these may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import pytest

from policy.approve import OrderRefused, Reason, State
from policy.approve.proofs import Proofs
from tests.policy.officers import LIMITS, RULES, SHARED, SetProver, activation, files, governed, judged, reasons, roster


@dataclass
class Passing:
    """A clock on which a second passes whenever it is read."""

    seconds: float = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


PROOFS: Final = Proofs(lambda: 0.0)
KEEPS = RULES + "    when: report.threat.launch_country in countries.neighbours\n"


def test_a_bundle_is_put_in_force_by_its_proof_and_refused_without_one() -> None:
    start, loose, kept = State.genesis(roster()), files(), files(KEEPS)
    with pytest.raises(OrderRefused, match="neighbours-only") as caught:
        judged(start, activation(start, loose, "alice", "bob"), loose, prover=PROOFS)
    assert reasons(caught.value) == {Reason.NOT_PROVED}
    state = judged(start, activation(start, kept, "alice", "bob"), kept, prover=PROOFS).state
    less = files(KEEPS.replace("[LaunchDetection, Track]", "[Track]"))
    state = judged(state, activation(state, less, "carol"), less, prover=PROOFS).state
    with pytest.raises(OrderRefused, match="not proved to release nothing new: KOR") as caught:
        judged(state, activation(state, kept, "carol"), kept, prover=PROOFS)
    assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}


def test_an_invariant_that_is_not_proved_in_time_is_not_proved() -> None:
    start, kept = State.genesis(roster()), files(KEEPS)
    signed = activation(start, kept, "alice", "bob")
    assert judged(start, signed, kept, prover=Proofs(Passing())).needed == 2
    for seconds in (1, 2):
        limits = replace(LIMITS, max_proof=timedelta(seconds=seconds))
        with pytest.raises(OrderRefused, match='"neighbours-only" is undecided') as caught:
            judged(start, signed, kept, prover=Proofs(Passing()), limits=limits)
        assert reasons(caught.value) == {Reason.NOT_PROVED}


def test_what_is_not_proved_in_time_to_tighten_may_loosen() -> None:
    state = governed(files(invariants=None))
    less = files(RULES.replace("[LaunchDetection, Track]", "[Track]"), invariants=None)
    signed = activation(state, less, "carol")
    assert judged(state, signed, less, prover=Proofs(Passing())).needed == 1
    for seconds in (1, 2, 3):
        limits = replace(LIMITS, max_proof=timedelta(seconds=seconds))
        with pytest.raises(OrderRefused, match="undecided") as caught:
            judged(state, signed, less, prover=Proofs(Passing()), limits=limits)
        assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}


def test_all_proofs_for_one_order_share_its_time() -> None:
    state, content, prover = governed(), files(comment="next"), SetProver()
    judged(state, activation(state, content, "alice"), content, prover=prover)
    assert prover.asked == ["unproved", "loosening"]
    assert prover.time == LIMITS.max_proof


def test_one_officer_neither_revives_an_agreement_that_no_rule_cites_nor_moves_a_decision_by_a_hold() -> None:
    """Either changes what is sent of what was released, or will be: a proof that it tightens would be wrong."""
    treaty = (
        "agreements:\n  treaty:\n    title: T\n    basis: B\n    parties: [JPN, KOR]\n"
        "    from: 2024-01-01\n    until: 2026-02-01\n    kinds: [LaunchDetection, Track]\n"
    )
    before = files(KEEPS + "    agreement: treaty\n", shared=SHARED + treaty)
    revived = files("partner: KOR\nrules: []\n", shared=SHARED + treaty.replace("2026", "2099"))
    held = files(KEEPS + "    agreement: treaty\n    hold_s: 3600\n", shared=SHARED + treaty)
    state = governed(before)
    for after in (revived, held):
        with pytest.raises(OrderRefused) as caught:
            judged(state, activation(state, after, "carol"), after, prover=PROOFS)
        assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}
    nothing = files("partner: KOR\nrules: []\n", shared=SHARED + treaty)
    assert judged(state, activation(state, nothing, "carol"), nothing, prover=PROOFS).needed == 1
