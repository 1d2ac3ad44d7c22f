"""Whether an order may be put in force. The trusted core of approval: no I/O, no clock.

``judge`` finds what stands against an order, in three steps. Each tells everything that it finds, and the next is taken
only where it found nothing: compiling and proving take time, and whoever opens the gateway's door must not have it.

What the order says (``glance``):

1.  The order is one (``policy.approve.order``), and it is this node's.
2.  It is exactly the next in the sequence, and names the order in force as the one before it. So none is ever put in
    force twice, none is left out, and no clock has a say in what replaces what: the state never goes back.
3.  It is not stale: ``expires`` is later than now, and later than the moment at which the last order other than a
    suspension was put in force (a clock that jumped back does not make it fresh). ``issued`` is at most ``max_ahead``
    ahead of now, and it stays good for no longer than ``max_validity``. While the node does not trust its clock, it
    takes suspensions alone.
4.  It has no more signatures than the roster in force has officers. Every one is of an officer whom that roster names,
    with the key that it names, and holds over the order. One signature that does not refuses the order, whoever else
    signed it; so do two of one officer. What a certificate says of its holder does not count.
5.  The files are those of the bundle whose digest was signed; those of an order that activates nothing are none.
6.  A partner who is suspended is one whom the node has, and is not suspended already; one who is resumed is suspended.
    So are a carrier that a route gains, its far end then, and both ends between whom the node carries. A route, or
    carrying, is not so already. A posture is not over already. A roster can govern (``Roster.faults``).
7.  No fewer officers signed than any order takes that does this.

What its bundle says, and what is proved of it:

8.  The bundle that it activates compiles, and is this node's.
9.  Every invariant of the bundle is proved of it. All proofs for one order have ``max_proof`` together: what is not
    proved by then is not proved.
10. As many officers signed as it takes. It is proved only for as many as it takes if the proof succeeds:

    - suspending takes ``tighten``;
    - activating a bundle takes ``remove_invariant`` where an invariant of the one in force is removed or weakened
      (``policy.invariants_kept``), or cannot be known because this software cannot read that bundle; else
      ``tighten`` where it declares the same posture and is *proved* to loosen nothing (``policy.prove.comparison``);
      else ``loosen``, and so does the first;
    - a roster takes ``loosen``, and ``remove_invariant`` where it lowers that threshold;
    - a route takes ``loosen`` where it has a carrier that it did not have, else ``tighten``; so does carrying between
      two partners, and ending that;
    - resuming a partner and declaring a posture take ``loosen``: rules may depend on a posture either way.

``confirm`` applies rules 1 to 3 again when the order is put in force: others may have been, meanwhile. ``replay`` puts
an order in force again that a node has kept: rules 1, 2, 4 and 10 are applied anew, but times are those of then, and
how many signatures an activation took is what was found (and proved) then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from policy.approve.order import (
    Activate,
    CarryFor,
    DeclarePosture,
    Order,
    ReplaceRoster,
    Resume,
    Route,
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


class Prover(Protocol):
    """What is proved of bundles, for all valid reports."""

    def within(self, time: timedelta) -> Prover:
        """The same, with so much time from now on for everything together."""

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

    max_proof: timedelta = timedelta(seconds=120)
    """For all proofs about the bundle that it activates: those of an ordinary policy take a second, and officers wait
    for the answer. What is not proved by then is not proved."""

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
    ``partners`` those of the node's configuration. Raises OrderRefused with what stands against it."""
    case = _glance(state, signed, files, now, partners, limits, clock_trusted=clock_trusted)
    bundle = None
    needed, finding = case.least()
    if isinstance(case.order.action, Activate):
        bundle = case.bundle(files, limits.policy)
        needed, finding = case.activating(bundle, prover.within(limits.max_proof))
    return Judgement(case.order, state.after(signed, case.order, now, bundle), needed, finding)


def glance(
    state: State,
    signed: SignedOrder,
    files: Mapping[str, bytes],
    *,
    now: datetime,
    partners: Collection[str],
    limits: OrderLimits,
    clock_trusted: bool = True,
) -> None:
    """What the order says, and whether so many signed that it is worth more (rules 1 to 7). Takes milliseconds. Raises
    OrderRefused."""
    _glance(state, signed, files, now, partners, limits, clock_trusted=clock_trusted)


def confirm(
    judgement: Judgement,
    state: State,
    signed: SignedOrder,
    *,
    now: datetime,
    limits: OrderLimits,
    clock_trusted: bool = True,
) -> Judgement:
    """The judgement at ``now``, of the state then in force: while it was made, time passed, and others may have been
    put in force. Raises OrderRefused."""
    case = _Case(state, signed, judgement.order)
    case.place()
    case.times(now, limits, clock_trusted=clock_trusted)
    case.settle()
    return replace(judgement, state=state.after(signed, judgement.order, now, judgement.state.bundle))


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
            case.count(*case.least())
    if isinstance(order.action, ReplaceRoster):
        case.roster(order.action)
    case.settle()
    return state.after(signed, order, enacted, bundle)


def _glance(
    state: State,
    signed: SignedOrder,
    files: Mapping[str, bytes],
    now: datetime,
    partners: Collection[str],
    limits: OrderLimits,
    *,
    clock_trusted: bool,
) -> _Case:
    case = _Case(state, signed, decode(signed.order))
    case.place()
    case.times(now, limits, clock_trusted=clock_trusted)
    case.signatures()
    case.files(files)
    case.sense(now, partners)
    case.count(*case.least())
    case.settle()
    return case


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

    def settle(self) -> None:
        """Raises OrderRefused where anything was found."""
        if self.refusals:
            raise OrderRefused(self.refusals)

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
        if len(self.signed.signatures) > len(roster.officers):
            what = f"The order has more signatures than the roster in force has officers ({len(roster.officers)})."
            self.refuse(Reason.TOO_MANY_SIGNATURES, what, "Take out those that are not of its officers.")
            return
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

    def files(self, files: Mapping[str, bytes]) -> None:
        if not isinstance(self.order.action, Activate):
            if files:
                self.refuse(
                    Reason.ALTERED, "Files came with an order that activates nothing.", "Bring the order alone."
                )
            return
        digest = digest_of(files)
        if digest != self.order.action.bundle:
            self.refuse(
                Reason.ALTERED,
                f"The order activates the bundle {self.order.action.bundle.hex()[:16]}, and the files are"
                f" {digest.hex()[:16]}.",
                "Bring the files as they were signed, or have these signed.",
            )

    def bundle(self, files: Mapping[str, bytes], limits: Limits) -> Bundle:
        """The bundle that is activated (rule 8)."""
        try:
            bundle = compile_bundle(files, limits)
        except PolicyError as error:
            raise OrderRefused(Refusal(Reason.DOES_NOT_COMPILE, str(each), "") for each in error.problems) from error
        if bundle.node != self.state.node:
            what = f"The policy is that of {bundle.node}, and this is {self.state.node}."
            self.refuse(Reason.WRONG_NODE, what, "Bring the policy of this node.")
        self.settle()
        return bundle

    def sense(self, now: datetime, partners: Collection[str]) -> None:
        match self.order.action:
            case Suspend(partner, _):
                self._known([partner], partners)
                if partner in self.state.suspensions:
                    self.refuse(Reason.NO_EFFECT, f"{partner} is suspended already.", "Nothing is to be done.")
            case Resume(partner) if partner not in self.state.suspensions:
                self.refuse(Reason.NO_EFFECT, f"{partner} is not suspended.", "Nothing is to be done.")
            case DeclarePosture(_, until) if until is not None and until <= now:
                what = f"The posture would be over at {shown(until)}, and it is {shown(now)}."
                self.refuse(Reason.OVER_ALREADY, what, "Write it anew.")
            case ReplaceRoster() as replacement:
                self.roster(replacement)
            case Route(partner, carriers) as route:
                if gained := self._gained(route):
                    self._known([partner, *gained], partners)
                if carriers == self.state.routes.get(partner, ()):
                    self.refuse(Reason.NO_EFFECT, "Those are its carriers already.", "Nothing is to be done.")
            case CarryFor(one, other, ended) as carry:
                if not ended:
                    self._known([one, other], partners)
                if ended is (carry.pair not in self.state.carries):
                    is_so = "does not carry between them" if ended else "carries between them already"
                    self.refuse(Reason.NO_EFFECT, f"{self.state.node} {is_so}.", "Nothing is to be done.")
            case _:
                pass

    def _known(self, named: Collection[str], partners: Collection[str]) -> None:
        known = set(partners)
        if self.state.bundle is not None:
            known |= set(self.state.bundle.partners)
        for partner in named:
            if partner not in known:
                self.refuse(Reason.UNKNOWN_PARTNER, f"{partner} is no partner here.", did_you_mean(partner, known))

    def _gained(self, route: Route) -> list[str]:
        """The carriers that the route does not have yet."""
        before = self.state.routes.get(route.partner, ())
        return [carrier for carrier in route.carriers if carrier not in before]

    def roster(self, replacement: ReplaceRoster) -> None:
        for fault in replacement.roster.faults():
            self.refuse(Reason.UNFIT_ROSTER, fault, "Mend the roster, and write the order anew.")

    def least(self) -> tuple[int, str]:
        """How many officers it takes, and why; of an activation, how many it takes whatever the bundle says."""
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
            case Route() as route if self._gained(route):
                return levels.loosen, "it lets others carry than before"
            case Route():
                return levels.tighten, "it lets nobody carry who did not before"
            case CarryFor(ended=True):
                return levels.tighten, "ending to carry only tightens"
            case CarryFor():
                return levels.loosen, "carrying for others loosens"
            case Activate() if self.state.activated is None:
                return levels.loosen, "it is the first policy"
            case Activate() if self.state.bundle is None:
                why = "the bundle in force cannot be read, so its invariants are not known"
                return levels.remove_invariant, why
            case Activate():
                return levels.tighten, "no policy is put in force by fewer"

    def activating(self, bundle: Bundle, prover: Prover) -> tuple[int, str]:
        """Proves what it takes (rule 9), and says how many officers that takes, and why (rule 10)."""
        (needed, finding), may_tighten = self._without_proof(bundle)
        # A proof takes time: none is made where it cannot help.
        if len(self.signers) < needed and not may_tighten:
            self.count(needed, finding)
            self.settle()
        for invariant in prover.unproved(bundle):
            self.refuse(Reason.NOT_PROVED, f"Not proved of the bundle: {invariant}.", "Mend the rules; see `prove`.")
        self.settle()
        before = self.state.bundle
        if len(self.signers) < needed and before is not None:
            if not (why := prover.loosening(before, bundle)):
                levels = self.state.roster.thresholds
                return levels.tighten, "it is proved to release nothing that the policy in force does not"
            self.count(needed, f"it is not proved to release nothing new: {why}")
            self.settle()
        return needed, finding

    def _without_proof(self, bundle: Bundle) -> tuple[tuple[int, str], bool]:
        """How many officers it takes where nothing more is proved, and why; and whether a proof can make it fewer."""
        levels, before = self.state.roster.thresholds, self.state.bundle
        if before is None:
            return self.least(), False
        removed = removed_or_weakened(before, bundle)
        if removed:
            why = f"it removes or weakens the invariant {', '.join(removed)}"
            return (levels.remove_invariant, why), False
        if bundle.posture is not before.posture:
            return (levels.loosen, f"it changes the bundle's own posture to {bundle.posture}"), False
        return (levels.loosen, "it may loosen"), True

    def count(self, needed: int, finding: str) -> None:
        count = len(self.signers)
        if count < needed:
            self.refuse(
                Reason.TOO_FEW_SIGNATURES,
                f"{count} of the {needed} officers have signed that it takes, as {finding}.",
                "Have more officers of the roster sign it.",
            )
