"""Performs the acts of a scenario in a replay: what officers and exercise control do, and what has to follow from it.

Every act waits for what follows and tells it in a line; where something else follows, it fails. Whether anything was
lost, doubled or leaked is not judged here: drill reports stand in the same books as all others (`gateway.demo.tally`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.demo.acts import Act, Annex, KeyChange, Overtaking, PostureChange, Suspension
from gateway.demo.annex import RULE, up_to_second, write_annex
from gateway.demo.deployment import OFFICERS, PUSHER, Deployed
from gateway.demo.drill import ExerciseControl
from gateway.demo.errors import DemoError
from gateway.demo.key_change import announce_new_keys, retire_former_keys
from gateway.demo.officers import bring
from gateway.demo.scenario import Scenario
from gateway.demo.tally import Tally, utc_now
from policy import Posture, digest_of
from policy.approve import Activate, DeclarePosture, Reason, Resume, Suspend
from policy.approve.order import Action
from policy.decision import BuiltIn

PATIENCE_S: Final = 60.0
"""Seconds that what an act waits for may take: a gateway that was killed has started and caught up by then."""

LOOK_S: Final = 0.02

KEYS_LOOK_S: Final = 0.2
"""Between questions about keys: each is on record at the gateway."""

ANNEX_LEFT: Final = timedelta(seconds=2)
"""For which an annex must still be in force once it is activated, for a drill report to go under it."""

_ONE, _TWO = OFFICERS[:1], OFFICERS[:2]


@dataclass(slots=True)
class Stage:
    """The acts of one replay under way.

    `moment` is when a part of the replay comes, by the event loop's clock. `up` says whether a nation's gateway runs.
    `patience_s` is how long it may take to activate a policy on this machine.
    """

    scenario: Scenario
    deployed: Mapping[str, Deployed]
    tally: Tally
    reports: dict[tuple[str, str], report_pb2.Report]
    """All reports of the replay, by node and identifier; what is injected is added."""
    say: Callable[[str], None]
    moment: Callable[[float], float]
    up: Callable[[str], bool]
    patience_s: float
    reasons: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """What officers wrote into their rules, by (node, partner, rule)."""
    killed_at: Mapping[str, float] = field(default_factory=dict)
    """The part of the replay at which a nation's gateway is killed first, for those that are."""
    _controls: dict[str, ExerciseControl] = field(default_factory=dict)
    _ordering: dict[str, asyncio.Lock] = field(default_factory=dict)
    _before_outage: dict[str, asyncio.Event] = field(default_factory=dict)
    _before_return: dict[str, list[asyncio.Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for nation in self.scenario.nations:
            self._controls[nation.node] = ExerciseControl(nation, self.scenario.launches[0].site)
            self._ordering[nation.node] = asyncio.Lock()
        for act in self.scenario.acts:
            if isinstance(act, Annex):
                self._before_outage[act.partner] = asyncio.Event()

    async def perform(self) -> None:
        """Performs every act at its time, side by side. Raises DemoError, ClientError, IdentityError or PolicyError."""
        async with asyncio.TaskGroup() as group:
            for act in self.scenario.acts:
                group.create_task(self._perform(act))

    async def may_be_killed(self, node: str) -> None:
        """Returns once no act needs the gateway of `node` before its outage."""
        if node in self._before_outage:
            await self._before_outage[node].wait()

    async def may_return(self, node: str) -> None:
        """Returns once no act needs the gateway of `node` to be away."""
        for event in self._before_return.get(node, ()):
            await event.wait()

    def _until_done(self, partner: str) -> asyncio.Event:
        """What an act sets once it does not need the gateway of `partner` to be away any more."""
        done = asyncio.Event()
        self._before_return.setdefault(partner, []).append(done)
        return done

    async def _perform(self, act: Act) -> None:
        await self._sleep_until(act.at)
        match act:
            case PostureChange():
                await self._posture(act)
            case Suspension():
                await self._suspension(act)
            case Annex():
                await self._annex(act)
            case Overtaking():
                await self._overtaking(act)
            case KeyChange():
                await self._keys(act)

    # --- the acts

    async def _posture(self, act: PostureChange) -> None:
        node, partner = act.node, act.partner
        before = await self._possible_launch(act)
        _expect(
            act, before.outcome == ledger_pb2.OUTCOME_WITHHELD, f"it was {_words(before)} before the posture changed"
        )
        why = self.reasons.get((node, partner, before.rule), "no reason")
        self.say(f"{node}: a possible launch, a drill, is {_words(before)} from {partner}: {why}")
        await self._order(node, DeclarePosture(Posture(act.posture)), _TWO)
        after = await self._possible_launch(act)
        _expect(act, after.outcome == ledger_pb2.OUTCOME_RELEASED, f"it was {_words(after)} after the posture changed")
        self.say(f"{node}: the next possible launch is {_words(after)} to {partner}")

    async def _possible_launch(self, act: PostureChange) -> ledger_pb2.Decision:
        drill = self._controls[act.node].launch(utc_now(), certainty=report_pb2.CERTAINTY_POSSIBLE)
        await self._push(act.node, drill)
        return await self._decision(act.node, drill, act.partner)

    async def _suspension(self, act: Suspension) -> None:
        node, partner, control = act.node, act.partner, self._controls[act.node]
        first = control.launch(utc_now())
        await self._push(node, first)
        await self._until(lambda: self._has(partner, first), f"{partner} has the drill of {node}")
        # A notice that is sealed and not yet sent when its recipient is suspended goes as a hash.
        await self._until(
            lambda: not any(True for _ in self.tally.withdrawals_due(node, partner)), "no withdrawal is on its way"
        )
        await self._order(node, Suspend(partner, act.reason), _ONE)
        second = control.launch(utc_now())
        await self._push(node, second)
        meanwhile = await self._decision(node, second, partner)
        _expect(act, meanwhile.rule == BuiltIn.SUSPENDED, f"while it was suspended a report was {_words(meanwhile)}")
        self.say(f"{node}: a drill is {_words(meanwhile)} from {partner}, which has the one before it")
        await self._push(node, control.cancellation(utc_now(), first, "The first drill was a mistake."))
        await self._until(
            lambda: "withdrawals-kept-back" in self.tally.events[node],
            f"the officers of {node} are told that {partner} is not told of a withdrawal",
        )
        self.say(
            f"{node} withdraws the drill that {partner} has; {partner} is not told, and the officers of {node} are"
        )
        await self._sleep_until(act.until)
        _expect(act, not self._told(partner, first), f"{partner} was told of a withdrawal while it was suspended")
        async with self._ordering[node]:
            refusals = await bring(self.deployed[node], Resume(partner), _ONE)
        alone = [refusal.reason for refusal in refusals]
        _expect(act, alone == [Reason.TOO_FEW_SIGNATURES], f"one officer who resumes a partner met {alone}")
        await self._order(node, Resume(partner), _TWO)
        await self._until(lambda: self._told(partner, first), f"{partner} is told that the first drill does not stand")
        withheld = self.tally.withheld[(node, partner, BuiltIn.SUSPENDED)]
        self.say(
            f"{partner} is told now that the drill no longer stands;"
            f" the {withheld} reports that {node} withheld meanwhile stay withheld"
        )

    async def _annex(self, act: Annex) -> None:
        node, partner = act.node, act.partner
        done = self._until_done(partner)
        try:
            ends = await self._in_force(act)
            self.say(
                f"{node} has an annex with {partner}: TOP SECRET drills go to it, sanitised, until {ends:%H:%M:%S} UTC"
            )
            under = await self._top_secret(act)
            _expect(act, under[1].rule == RULE, f"under the annex a drill was {_words(under[1])}")
            await self._until(lambda: self._has(partner, under[0]), f"{partner} has the drill of {node}")
            self.say(
                f"{node}: such a drill is {_words(under[1])} to {partner}, which has it, coarsened and marked SECRET"
            )
            self._before_outage[partner].set()
            waiting = await self._waiting(act, ends)
            await asyncio.sleep(max(0.0, (ends - utc_now()).total_seconds()) + LOOK_S)
            after = await self._top_secret(act)
            _expect(act, after[1].rule == BuiltIn.AGREEMENT_LAPSED, f"after the annex a drill was {_words(after[1])}")
            self.say(f"{node}: the annex has lapsed, and the next such drill is {_words(after[1])} from {partner}")
        finally:
            self._before_outage[partner].set()
            done.set()
        if waiting is not None:
            place = waiting[1].ledger, waiting[1].index
            await self._until(lambda: place in self.tally.kept_back, "what waited is kept back")
            _expect(act, not self._has(partner, waiting[0]), f"{partner} was sent what waited, after the annex lapsed")
            self.say(f"{partner} is given the drill that waited as its hash alone, with a reason signed by {node}")

    async def _in_force(self, act: Annex) -> datetime:
        """Activates the annex, and returns when it lapses: later than declared where this machine is slow, or where the
        partner's gateway would not have been killed by then.
        """
        node, patience = act.node, timedelta(seconds=self.patience_s)
        loop = asyncio.get_running_loop()
        while True:
            now = utc_now()
            left_s = self.moment(act.until) - loop.time()
            if act.partner in self.killed_at:
                killed_s = self.moment(self.killed_at[act.partner]) - loop.time()
                left_s = max(left_s, killed_s + 2 * ANNEX_LEFT.total_seconds())
            ends = up_to_second(max(now + timedelta(seconds=left_s), now + patience + ANNEX_LEFT))
            starts = now.replace(microsecond=0)
            files = write_annex(self.deployed[node], act.partner, starts, ends)
            await self._order(node, Activate(digest_of(files)), _TWO, files)
            if utc_now() < ends - ANNEX_LEFT:
                return ends
            self.say(f"{node}: its policy came into force when the annex was all but over; it is made longer")
            patience *= 2

    async def _waiting(self, act: Annex, ends: datetime) -> tuple[report_pb2.Report, ledger_pb2.Decision] | None:
        """A drill released under the annex while the partner's gateway is away; None where it is not killed in time."""
        if act.partner not in self.killed_at:
            return None
        while self.up(act.partner):
            if utc_now() > ends - ANNEX_LEFT:
                return None
            await asyncio.sleep(LOOK_S)
        drill, decision = await self._top_secret(act)
        if decision.outcome != ledger_pb2.OUTCOME_RELEASED:
            return None
        self.say(f"{act.node}: another such drill is released, and waits for {act.partner}, whose gateway is away")
        return drill, decision

    async def _top_secret(self, act: Annex) -> tuple[report_pb2.Report, ledger_pb2.Decision]:
        drill = self._controls[act.node].launch(
            utc_now(), classification="TOP_SECRET", releasable_to=(act.partner,)
        )  # fmt: skip
        await self._push(act.node, drill)
        return drill, await self._decision(act.node, drill, act.partner)

    async def _overtaking(self, act: Overtaking) -> None:
        node, partner, control = act.node, act.partner, self._controls[act.node]
        done = self._until_done(partner)
        try:
            away = partner in self.killed_at
            if away:
                await self._sleep_until(self.killed_at[partner])
                await self._until(lambda: not self.up(partner), f"the gateway of {partner} is killed")
            backlog = [control.impact(utc_now()) for _ in range(act.backlog)]
            last = backlog[-1]
            await self._push(node, *backlog, control.cancellation(utc_now(), last, "The last drill was a mistake."))
        finally:
            done.set()
        await self._until(
            lambda: self._has(partner, last) and self._told(partner, last),
            f"{partner} has a drill of {node} and its withdrawal",
        )
        whom = f"{partner}, which is away," if away else partner
        told = f"{node} sends {act.backlog} ROUTINE drills to {whom} and withdraws the last"
        if (partner, node, last.report_id) in self.tally.overtaken:
            self.say(f"{told}: the withdrawal, by the FLASH lane, is there first; the drill then arrives withdrawn")
        else:
            # It lost a race of two connections, and that is no fault of anybody's.
            self.say(f"{told}: the drill was there before its withdrawal")

    async def _keys(self, act: KeyChange) -> None:
        node, partner = act.node, act.partner
        place = self.deployed[node]
        before: dict[str, str] = {}

        async def asked() -> bool:
            before.update(await self._keys_in_use(node))
            return bool(before)

        await self._until_answered(asked, f"{node} says which keys it uses")
        bundle = await asyncio.to_thread(announce_new_keys, place, utc_now())
        waits = "" if self.up(partner) else f"; {partner}, whose gateway is away, is given it when it is back"
        self.say(
            f"{node} makes a new key of every kind, and its offline root signs trust bundle {bundle.sequence}, which"
            f" names them: it goes out over the open streams{waits}"
        )

        async def changed() -> bool:
            now = await self._keys_in_use(node)
            return all(now.get(kind, key_id) != key_id for kind, key_id in before.items())

        await self._until_answered(changed, f"{node} uses its new keys")
        self.say(f"{node}: every partner knows them, and {', '.join(sorted(before))} are changed")
        last = await asyncio.to_thread(retire_former_keys, place, utc_now())

        async def known() -> bool:
            status = await self.deployed[node].officer().key_status()
            return all(partner.sequence >= last.sequence for partner in status.known)

        await self._until_answered(known, f"{partner} knows that the former keys of {node} are retired")
        self.say(
            f"{node}: its former keys are retired by trust bundle {last.sequence}; what they signed stays verifiable"
        )

    async def _keys_in_use(self, node: str) -> dict[str, str]:
        status = await self.deployed[node].officer().key_status()
        return {key.kind: key.key_id for key in status.keys if key.state == officer_pb2.KEY_STATE_CURRENT}

    async def _until_answered(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        """As `_until`, of what a gateway has to be asked; it may be away meanwhile."""
        answer = False

        async def ask() -> None:
            nonlocal answer
            while not answer:
                with contextlib.suppress(ConnectionError):
                    answer = await holds()
                await asyncio.sleep(KEYS_LOOK_S)

        asking = asyncio.create_task(ask())
        try:
            await self._until(asking.done, what)
            asking.result()
        finally:
            asking.cancel()

    # --- what acts are made of

    async def _sleep_until(self, part: float) -> None:
        await asyncio.sleep(max(0.0, self.moment(part) - asyncio.get_running_loop().time()))

    async def _push(self, node: str, *reports: report_pb2.Report) -> None:
        for report in reports:
            self.reports[(node, report.report_id)] = report
        self.tally.pushed[node] += len(reports)
        async for result in self.deployed[node].client(PUSHER).submit(reports):
            self.tally.answered(node, result)
            if not result.accepted:
                faults = "; ".join(f"{each.field}: {each.problem}" for each in result.violations)
                raise DemoError(
                    f"{node} refused a drill report: {faults}",
                    where="exercise control",
                    mend="Read docs/c2.md, and let exercise control push what it may.",
                )

    async def _order(
        self, node: str, action: Action, signers: Sequence[str], files: Mapping[str, bytes] | None = None
    ) -> None:
        async with self._ordering[node]:
            refusals = await bring(self.deployed[node], action, signers, files)
        if refusals:
            raise DemoError(
                f"An order of {node} was refused: {' '.join(refusal.what for refusal in refusals)}",
                where=str(self.deployed[node].directory / "gateway.log"),
                mend=" ".join(refusal.remedy for refusal in refusals),
            )

    async def _decision(self, node: str, report: report_pb2.Report, partner: str) -> ledger_pb2.Decision:
        key = (node, report.report_id, partner)
        await self._until(lambda: key in self.tally.decisions, f"{node} has decided on a drill")
        return self.tally.decisions[key]

    def _has(self, node: str, report: report_pb2.Report) -> bool:
        return (node, report.originator_node, report.report_id) in self.tally.received

    def _told(self, node: str, report: report_pb2.Report) -> bool:
        return (node, report.originator_node, report.report_id) in self.tally.withdrawals

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():  # noqa: ASYNC110  the books are no event: many hands fill them
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise DemoError(
                f"An act waited {PATIENCE_S:g} s in vain until {what}",
                where="; ".join(str(place.directory / "gateway.log") for place in self.deployed.values()),
                mend="Read the ends of the logs.",
            ) from None


def _words(decision: ledger_pb2.Decision) -> str:
    outcome = ledger_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_").lower()
    return f"{outcome} {decision.rule}" if decision.rule.startswith("(") else f"{outcome} by rule {decision.rule}"


def _expect(act: Act, holds: bool, otherwise: str) -> None:
    if not holds:
        raise _otherwise(act, otherwise)


def _otherwise(act: Act, what: str) -> DemoError:
    return DemoError(
        f"The act {act.act} of {act.node} came out otherwise than it must: {what}",
        where="acts of the scenario",
        mend="Compare the policy of that nation with what docs/scenarios.md says of the act.",
    )
