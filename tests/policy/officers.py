"""Officers with keys, the bundles that they sign, and a prover whose answers a test sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import pytest
from nacl.signing import SigningKey

from policy import Bundle, digest_of
from policy.approve import (
    Activate,
    Judgement,
    Officer,
    Order,
    OrderLimits,
    OrderRefused,
    Prover,
    Reason,
    Roster,
    SignedOrder,
    State,
    Thresholds,
    encode,
    judge,
    sign,
)
from policy.approve.order import Action

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NODE: Final = "JPN"
PARTNERS: Final = ("KOR", "USA")
LIMITS: Final = OrderLimits()


def seed_of(name: str) -> bytes:
    """An officer's private seed, the same in every test."""
    return sha256(f"officer {name}".encode()).digest()


def officer(name: str, seed: bytes | None = None) -> Officer:
    """The officer as a roster names him."""
    return Officer(name, bytes(SigningKey(seed or seed_of(name)).verify_key))


def roster(*names: str, levels: Thresholds | None = None) -> Roster:
    """A roster of these officers, by default alice, bob and carol."""
    chosen = names or ("alice", "bob", "carol")
    return Roster(NODE, tuple(map(officer, sorted(chosen))), levels or Thresholds(2, 1, min(3, len(chosen))))


SHARED: Final = """\
node: JPN
posture: ROUTINE
countries:
  neighbours: [PRK, RUS]
  far: [IRN]
field_sets:
  warning: [envelope@1, threat@1, launch@1, track@1, impact@1, recall@1]
"""
RULES: Final = """\
partner: KOR
rules:
  - name: everything
    effect: release
    reason: A test
    kinds: [LaunchDetection, Track]
    traffic_classes: [LIVE]
    ceiling: SECRET
    fields: [warning]
"""
INVARIANTS: Final = """\
invariants:
  - name: neighbours-only
    reason: What was agreed
    partners: all
    kinds: [LaunchDetection, Track]
    never: '!(report.threat.launch_country in countries.neighbours) || report.threat.launch_country == "UNKNOWN"'
"""


def files(
    rules: str = RULES, *, shared: str = SHARED, invariants: str | None = INVARIANTS, comment: str = ""
) -> dict[str, bytes]:
    """The files of a bundle; another `comment` makes another digest."""
    made = {"policy.yaml": f"# {comment}\n{shared}", "partners/KOR.yaml": rules}
    if invariants is not None:
        made["invariants.yaml"] = invariants
    return {name: text.encode() for name, text in made.items()}


@dataclass
class SetProver:
    """Answers as it is told, and counts how often it is asked."""

    invariants: Sequence[str] = ()
    why_loosening: str = ""
    asked: list[str] = field(default_factory=list)
    time: timedelta | None = None

    def within(self, time: timedelta) -> SetProver:
        self.time = time
        return self

    def unproved(self, bundle: Bundle) -> Sequence[str]:
        self.asked.append("unproved")
        return self.invariants

    def loosening(self, old: Bundle, new: Bundle) -> str:
        self.asked.append("loosening")
        return self.why_loosening


def order(state: State, action: Action, **changes: object) -> Order:
    """The next order after `state`, written just now and good for a day."""
    plain = Order(NODE, state.sequence + 1, state.last, NOW, NOW + timedelta(days=1), action)
    return replace(plain, **changes)  # type: ignore[arg-type]  # a test may say anything


def signed_by(made: Order, *names: str) -> SignedOrder:
    """The order, signed by these officers."""
    signed = SignedOrder(encode(made))
    for name in names:
        signed = sign(signed, name, NODE, seed_of(name))
    return signed


def judged(
    state: State,
    signed: SignedOrder,
    bundle: Mapping[str, bytes] | None = None,
    *,
    now: datetime = NOW,
    prover: Prover | None = None,
    partners: Collection[str] = PARTNERS,
    limits: OrderLimits = LIMITS,
    clock_trusted: bool = True,
) -> Judgement:
    """The judgement on an order, with everything else as it mostly is."""
    asked = prover or SetProver()
    return judge(
        state,
        signed,
        bundle or {},
        now=now,
        partners=partners,
        prover=asked,
        limits=limits,
        clock_trusted=clock_trusted,
    )


def governed(bundle: Mapping[str, bytes] | None = None, by: Roster | None = None) -> State:
    """A state in which a first policy is in force."""
    state = State.genesis(by or roster())
    content = files() if bundle is None else bundle
    names = [each.name for each in state.roster.officers[: state.roster.thresholds.loosen]]
    return judged(state, signed_by(order(state, Activate(digest_of(content))), *names), content).state


def activation(state: State, bundle: Mapping[str, bytes], *names: str, **changes: object) -> SignedOrder:
    """An order for this bundle, signed by these officers."""
    return signed_by(order(state, Activate(digest_of(bundle)), **changes), *names)


def refusal(
    state: State,
    signed: SignedOrder,
    bundle: Mapping[str, bytes] | None = None,
    *,
    now: datetime = NOW,
    prover: SetProver | None = None,
) -> set[Reason]:
    """Why the order is refused, which it must be."""
    with pytest.raises(OrderRefused) as caught:
        judged(state, signed, bundle, now=now, prover=prover)
    assert all(each.what for each in caught.value.refusals)
    return reasons(caught.value)


def reasons(refused: object) -> set[Reason]:
    """The reasons in an OrderRefused."""
    return {refusal.reason for refusal in refused.refusals}  # type: ignore[attr-defined]  # of pytest's ExceptionInfo
