"""Whether an order may be put in force. The trusted core of approval: no I/O, no clock.

``judge`` finds everything that stands against an order, in order:

1.  The order is one (``policy.approve.order``), and it is this node's.
2.  It is exactly the next in the sequence, and names the order in force as the one before it. So none is ever put in
    force twice, none is left out, and no clock has a say in what replaces what: the state never goes back.
3.  It is not stale: ``expires`` is later than now, and later than the moment at which the last order was put in force
    (a clock that jumped back does not make it fresh). ``issued`` is at most ``max_ahead`` ahead of now, and it stays
    good for no longer than ``max_validity``. While the node does not trust its clock, it takes suspensions alone.
4.  Every signature is of an officer whom the roster in force names, with the key that it names, and holds over the
    order. One signature that does not refuses the order, whoever else signed it; so do two of one officer. What a
    certificate says of its holder does not count.
5.  A bundle that is activated is the one whose digest was signed, compiles, and is this node's. The files of any other
    order are none.
6.  A partner who is suspended is one whom the node has, and is not suspended already; one who is resumed is suspended.
    A posture is not over already. A roster can govern (``Roster.faults``).
7.  Where nothing of all this stands against it: every invariant of the bundle is proved of it.
8.  As many officers signed as it takes:

    - suspending takes ``tighten``;
    - activating a bundle takes ``remove_invariant`` where an invariant of the one in force is removed or weakened
      (``policy.invariants_kept``), or cannot be known because this software cannot read that bundle; else
      ``tighten`` where it declares the same posture and is *proved* to release nothing that the one in force does not;
      else ``loosen``, and so does the first;
    - a roster takes ``loosen``, and ``remove_invariant`` where it lowers that threshold;
    - resuming a partner and declaring a posture take ``loosen``: rules may depend on a posture either way.

``replay`` puts an order in force again that a node has kept: rules 1, 2, 4 and 8 are applied anew, but times are
those of then, and how many signatures an activation took is what was found (and proved) then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from policy.approve.order import (
    Activate,
    DeclarePosture,
    Order,
    ReplaceRoster,
    Resume,
    SignedOrder,
    Suspend,
    decode,
    holds,
)
from policy.approve.refusals import OrderRefused, Reason, Refusal
from policy.approve.state import State
from policy.approve.words import shown
from policy.bundle import Bundle, compile_bundle, digest_of
from policy.errors import PolicyError, did_you_mean
from policy.invariants_kept import removed_or_weakened
from policy.limits import DEFAULT_LIMITS, Limits

_SHOWN_PROBLEMS: Final = 20
"""Problems of a bundle that an answer names; `signalfire policy check` gives all of them."""


class Prover(Protocol):
    """What is proved of bundles, for all valid reports."""

    def unproved(self, bundle: Bundle) -> Sequence[str]:
        """The invariants of ``bundle`` that are not proved of it, each with why; empty: all of them are."""

    def loosening(self, old: Bundle, new: Bundle) -> str:
        """Why it is not proved that ``new`` releases nothing that ``old`` does not; empty: it is proved."""


@dataclass(frozen=True, slots=True)
class OrderLimits:
    """Limits of one order."""

    max_ahead: timedelta = timedelta(seconds=60)
    """How far ahead of the node's clock an order may have been written: officers' machines are not disciplined as
    closely as gateways are."""

    max_validity: timedelta = timedelta(days=31)
    """From ``issued`` to ``expires``, at most: an order that was signed and then laid aside must not lie in wait."""

    policy: Limits = DEFAULT_LIMITS
    """Limits of the bundle that it activates."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """An order that may be put in force: what it says, the state after it, and how many signatures it took."""

    order: Order
    state: State
    needed: int
    finding: str
    """In words, why it took as many."""


def judge(
    state: State,
    signed: SignedOrder,
    files: Mapping[str, bytes],
    *,
    now: datetime,
    partners: Collection[str],
    prover: Prover,
    limits: OrderLimits,
    clock_trusted: bool = True,
) -> Judgement:
    """The order as it would be put in force after ``state``. ``files`` are those of the bundle that it activates,
    ``partners`` those of the node's configuration. Raises OrderRefused with everything that stands against it."""
    order = decode(signed.order)
    case = _Case(state, signed, order)
    case.place()
    case.times(now, limits, clock_trusted=clock_trusted)
    case.signatures()
    bundle = case.bundle(files, limits.policy)
    case.sense(now, partners)
    if not case.refusals and bundle is not None:
        for invariant in prover.unproved(bundle):
            case.refuse(Reason.NOT_PROVED, f"Not proved of the bundle: {invariant}.", "Mend the rules; see `prove`.")
    needed, finding = case.needed(bundle, prover)
    case.count(needed, finding)
    if case.refusals:
        raise OrderRefused(case.refusals)
    return Judgement(order, state.after(signed, order, now, bundle), needed, finding)


def replay(state: State, signed: SignedOrder, bundle: Bundle | None, *, enacted: datetime, needed: int) -> State:
    """The state after an order that was put in force before. ``bundle`` is the one that it activated, None where this
    software cannot read it; ``needed`` is what the order took then. Raises OrderRefused."""
    order = decode(signed.order)
    case = _Case(state, signed, order)
    case.place()
    case.signatures()
    match order.action:
        case Activate(digest):
            levels = state.roster.thresholds
            if bundle is not None and bundle.digest != digest:
                case.refuse(Reason.ALTERED, "The bundle on record is not the one that was signed.", "")
            if not levels.tighten <= needed <= levels.remove_invariant:
                case.refuse(Reason.TOO_FEW_SIGNATURES, f"It is on record as taking {needed} signatures.", "")
            case.count(max(needed, levels.loosen if state.activated is None else needed), "it did so then")
        case _:
            case.count(*case.needed(None, None))
    if isinstance(order.action, ReplaceRoster):
        case.roster(order.action)
    if case.refusals:
        raise OrderRefused(case.refusals)
    return state.after(signed, order, enacted, bundle)


@dataclass(slots=True)
class _Case:
    """One order under judgement."""

    state: State
    signed: SignedOrder
    order: Order
    refusals: list[Refusal] = field(default_factory=list)
    signers: set[str] = field(default_factory=set)

    def refuse(self, reason: Reason, what: str, remedy: str) -> None:
        self.refusals.append(Refusal(reason, what, remedy))

    def place(self) -> None:
        order, state = self.order, self.state
        if order.node != state.node:
            self.refuse(
                Reason.WRONG_NODE, f"The order is for {order.node}, and this is {state.node}.", "Take it to its node."
            )
        if order.sequence != state.sequence + 1:
            what = f"The order is number {order.sequence}, and the next one is number {state.sequence + 1}"
            past = ": what is in force is newer" if order.sequence <= state.sequence else ""
            self.refuse(Reason.WRONG_SEQUENCE, f"{what}{past}.", "Write it anew on the status of now, and sign it.")
        elif order.previous != state.last:
            self.refuse(
                Reason.WRONG_PREVIOUS,
                f"The order follows another one ({order.previous.hex()[:16]}) than that in force"
                f" ({state.last.hex()[:16]}).",
                "Look who put that in force; then write this one anew on the status of now.",
            )

    def times(self, now: datetime, limits: OrderLimits, *, clock_trusted: bool) -> None:
        order = self.order
        if not clock_trusted and not isinstance(order.action, Suspend):
            what = "The node does not trust its clock, and so cannot tell whether the order is stale."
            self.refuse(Reason.CLOCK_NOT_TRUSTED, what, "Set the gateway's clock right; `signalfire status` says more.")
        latest = now if self.state.enacted is None else max(now, self.state.enacted)
        if order.expires <= latest:
            self.refuse(
                Reason.STALE, f"The order expired at {shown(order.expires)}; it is {shown(latest)}.", "Write it anew."
            )
        if order.issued > now + limits.max_ahead:
            self.refuse(
                Reason.ISSUED_AHEAD,
                f"The order was issued at {shown(order.issued)}, and here it is {shown(now)}.",
                "Set the clock that is wrong: the officer's, or the gateway's.",
            )
        if order.expires - order.issued > limits.max_validity:
            self.refuse(
                Reason.VALID_TOO_LONG,
                f"The order would stay good for {order.expires - order.issued}; the limit is {limits.max_validity}.",
                "Write it anew for a shorter time.",
            )

    def signatures(self) -> None:
        roster, seen = self.state.roster, set[str]()
        if not self.signed.signatures:
            self.refuse(Reason.UNSIGNED, "Nobody signed the order.", "Sign it with `signalfire policy sign --order`.")
        for signature in self.signed.signatures:
            name = signature.officer[:64]
            if name in seen:
                self.refuse(Reason.SIGNED_TWICE, f"{name} signed it twice.", "Take one out: two officers, two people.")
                continue
            seen.add(name)
            officer = roster.named(signature.officer)
            if officer is None or signature.key_id != officer.key_id(roster.node):
                which = (
                    "is not in the roster in force" if officer is None else "signed with a key that is not his there"
                )
                self.refuse(
                    Reason.NOT_IN_ROSTER,
                    f'"{name}" {which}.',
                    "Have officers of the roster sign; a certificate alone gives no authority.",
                )
            elif not holds(signature, officer, self.signed.order):
                self.refuse(
                    Reason.BAD_SIGNATURE,
                    f"The signature of {name} does not hold over this order: one of the two was altered.",
                    "Have it signed as it is, or bring it as it was signed.",
                )
            else:
                self.signers.add(officer.name)

    def bundle(self, files: Mapping[str, bytes], limits: Limits) -> Bundle | None:
        if not isinstance(self.order.action, Activate):
            if files:
                self.refuse(
                    Reason.ALTERED, "Files came with an order that activates nothing.", "Bring the order alone."
                )
            return None
        digest = digest_of(files)
        if digest != self.order.action.bundle:
            self.refuse(
                Reason.ALTERED,
                f"The order activates the bundle {self.order.action.bundle.hex()[:16]}, and the files are"
                f" {digest.hex()[:16]}.",
                "Bring the files as they were signed, or have these signed.",
            )
        try:
            bundle = compile_bundle(files, limits)
        except PolicyError as error:
            for problem in error.problems[:_SHOWN_PROBLEMS]:
                self.refuse(Reason.DOES_NOT_COMPILE, str(problem), "")
            if (more := len(error.problems) - _SHOWN_PROBLEMS) > 0:
                self.refuse(Reason.DOES_NOT_COMPILE, f"And {more} more.", "See `signalfire policy check`.")
            return None
        if bundle.node != self.state.node:
            what = f"The policy is that of {bundle.node}, and this is {self.state.node}."
            self.refuse(Reason.WRONG_NODE, what, "Bring the policy of this node.")
            return None
        return bundle

    def sense(self, now: datetime, partners: Collection[str]) -> None:
        match self.order.action:
            case Suspend(partner, _):
                known = set(partners)
                if self.state.bundle is not None:
                    known |= set(self.state.bundle.partners)
                if partner not in known:
                    self.refuse(Reason.UNKNOWN_PARTNER, f"{partner} is no partner here.", did_you_mean(partner, known))
                if partner in self.state.suspensions:
                    self.refuse(Reason.NO_EFFECT, f"{partner} is suspended already.", "Nothing is to be done.")
            case Resume(partner) if partner not in self.state.suspensions:
                self.refuse(Reason.NO_EFFECT, f"{partner} is not suspended.", "Nothing is to be done.")
            case DeclarePosture(_, until) if until is not None and until <= now:
                what = f"The posture would be over at {shown(until)}, and it is {shown(now)}."
                self.refuse(Reason.OVER_ALREADY, what, "Write it anew.")
            case ReplaceRoster() as replacement:
                self.roster(replacement)
            case _:
                pass

    def roster(self, replacement: ReplaceRoster) -> None:
        for fault in replacement.roster.faults():
            self.refuse(Reason.UNFIT_ROSTER, fault, "Mend the roster, and write the order anew.")

    def needed(self, bundle: Bundle | None, prover: Prover | None) -> tuple[int, str]:
        """How many officers it takes, and why."""
        levels = self.state.roster.thresholds
        match self.order.action:
            case Suspend():
                return levels.tighten, "suspending a partner only tightens"
            case Resume():
                return levels.loosen, "resuming a partner loosens"
            case DeclarePosture():
                return levels.loosen, "rules may depend on a posture either way"
            case ReplaceRoster(roster):
                if roster.thresholds.remove_invariant < levels.remove_invariant:
                    return levels.remove_invariant, "it lowers what removing an invariant takes"
                return levels.loosen, "it says who may loosen"
            case Activate():
                return self._needed_to_activate(bundle, prover)

    def _needed_to_activate(self, bundle: Bundle | None, prover: Prover | None) -> tuple[int, str]:
        levels, before = self.state.roster.thresholds, self.state.bundle
        if self.state.activated is None:
            return levels.loosen, "it is the first policy"
        if before is None:
            return levels.remove_invariant, "the bundle in force cannot be read, so its invariants are not known"
        if bundle is None:
            return levels.loosen, "it may loosen"
        removed = removed_or_weakened(before, bundle)
        if removed:
            return levels.remove_invariant, f"it removes or weakens the invariant {', '.join(removed)}"
        if bundle.posture is not before.posture:
            return levels.loosen, f"it changes the bundle's own posture to {bundle.posture}"
        # A proof takes time: it is made only where it decides, and for what officers of the roster have signed.
        if self.refusals or prover is None or len(self.signers) >= levels.loosen:
            return levels.loosen, "it may loosen"
        why = prover.loosening(before, bundle)
        if why:
            return levels.loosen, f"it is not proved to release nothing new: {why}"
        return levels.tighten, "it is proved to release nothing that the policy in force does not"

    def count(self, needed: int, finding: str) -> None:
        count = len(self.signers)
        if count < needed:
            self.refuse(
                Reason.TOO_FEW_SIGNATURES,
                f"{count} of the {needed} officers have signed that it takes, as {finding}.",
                "Have more officers of the roster sign it.",
            )
