"""What the tests of reports that go onward from USA by JPN to KOR share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import FeedFilter, FeedRow
from gateway.ledger.tiles import Edge
from gateway.release.groups import parts_of
from gateway.release.onward import Inclusion, Passage
from gateway.release.passing import PassOn
from gateway.release.pipeline import DecideHeld
from gateway.release.planned.put_off import PUT_OFF, ranges
from gateway.release.replica import Received
from gateway.release.rulebook import Rulebook
from gateway.seal.commitment import disclose_parts
from gateway.seal.epoch import Epoch
from policy import compile_bundle
from tests.release.world import LIMITS, RELEASE_ALL, Site, identifier, partner_of, rules, signatory_of
from tests.reports.examples import (
    SECOND,
    cancellation,
    change,
    launch_detection,
)

OnwardReport: TypeAlias = ledger_pb2.OnwardReport
ALL: Final = FeedFilter(frozenset({1, 2, 3}))
LIVE: Final = report_pb2.TRAFFIC_CLASS_LIVE
TO_JPN, TO_KOR = Origin("USA", "JPN", "flash", 1), Origin("JPN", "KOR", "flash", 1)
POLICY: Final = """\
node: JPN
posture: ROUTINE
field_sets:
  warning: [envelope@1, threat@1, references@1, launch@1, track@1, impact@1, recall@1]
equivalences:
  USA: {SECRET: SECRET, CONFIDENTIAL: CONFIDENTIAL, RESTRICTED: RESTRICTED, UNCLASSIFIED: UNCLASSIFIED}
"""
PASS_ON: Final = RELEASE_ALL.replace("    ceiling:", "    originators: [USA]\n    ceiling:")
USA_RULES = rules("USA", JPN=RELEASE_ALL.replace("[warning]", "[warning, source@1, references@1]"))


def passing(extra: str = "", fields: str = "warning", **partners: str) -> Rulebook:
    """JPN's policy: what USA lets go onward goes to KOR."""
    text = PASS_ON.replace("[warning]", f"[{fields}]") + extra
    files = {"policy.yaml": POLICY.encode()}
    for node, rule in ({"KOR": text, "USA": "rules: []\n"} | partners).items():
        files[f"partners/{node}.yaml"] = f"partner: {node}\n{rule}".encode()
    policy = compile_bundle(files)
    return Rulebook(policy, tuple(sorted({"KOR", "USA", *partners})), policy.posture)


def american(
    make: Callable[..., report_pb2.Report] = launch_detection, seed: int = 1, /, **to: object
) -> report_pb2.Report:
    """A report of USA, releasable to JPN and KOR, which lets it go onward to KOR."""
    report = make(seed, originator_node="USA", marking__policy="USA", marking__releasable_to=["JPN", "KOR"])
    return change(report, **{"marking__onward_release": ["KOR"], **to})


def bring(sender: Site, recipient: Site, lane: str = "flash", generation: int = 1) -> Received:
    """Everything new in a lane of one ledger goes to its recipient."""
    origin = Origin(sender.node, recipient.node, lane, generation)
    row = recipient.store.ledger(origin)
    return recipient.do(recipient.receive(sender.incoming(origin, 0 if row is None else row.size)))


def onward_in(jpn: Site, lane: str = "flash") -> list[ledger_pb2.OnwardReport]:
    contents = jpn.contents(Origin("JPN", "KOR", lane, 1)).values()
    return [content.onward_report for content in contents if content.HasField("onward_report")]


def feed(site: Site) -> list[FeedRow]:
    return list(site.store.feed(0, 1000, ALL)[0])


def told(site: Site) -> list[tuple[str, bytes]]:
    """What subscribers are given: report or withdrawal, and of which report."""
    return [(row.item.name.lower(), row.report_id) for row in feed(site)]


def is_withdrawn(site: Site, report: report_pb2.Report) -> bool:
    row = site.store.received(report.originator_node, identifier(report))
    assert row is not None
    return row.withdrawn_ns is not None


def shown(proof: ledger_pb2.OriginProof) -> set[int]:
    return {part.group for part in proof.disclosed.parts if not part.leaf_hash}


def derived(report: report_pb2.Report) -> list[tuple[str, set[str]]]:
    return [(each.node, set(each.fields)) for each in report.derivations]


def decided(jpn: Site) -> list[tuple[str, str]]:
    """Outcome and rule of every decision for KOR."""
    decisions = (decision for record in jpn.decisions() for decision in record.decisions if decision.partner == "KOR")
    return [(ledger_pb2.Outcome.Name(each.outcome).removeprefix("OUTCOME_"), each.rule) for each in decisions]


def assert_sound(*sites: Site) -> None:
    for site in sites:
        assert [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings] == []


def recall(report: report_pb2.Report, seed: int = 900) -> report_pb2.Report:
    return american(cancellation, seed, cancellation__report_ids=[report.report_id])


def put(site: Site, recipient: str, *contents: ledger_pb2.EntryContent) -> None:
    """A gateway seals these contents, each whole, whatever they are."""
    put_parts(site, recipient, *([ledger_pb2.Part(content=content.SerializeToString())] for content in contents))


def put_parts(site: Site, recipient: str, *payloads: Sequence[ledger_pb2.Part]) -> None:
    plan = site.plan()
    for parts in payloads:
        plan.ledgers.writer(recipient, "flash").append_parts(parts)
    site.keep(plan)


def errors(jpn: Site) -> list[str]:
    return [decision.error for record in jpn.decisions() for decision in record.decisions]


def decide_what_is_due(site: Site) -> None:
    for row in site.store.held_until(site.now_ns, 100):
        site.do(DecideHeld(row))


def pass_on_the_rest(site: Site, origin: Origin = TO_JPN) -> int:
    """Passes on what was put off, as long as that takes, a step a second. Returns how many steps it took."""
    steps = 0
    while ranges(site.store.meta(PUT_OFF)):
        site.now_ns += SECOND
        assert site.do(PassOn(origin, LIVE, LIMITS)).entries > 0
        steps += 1
    return steps


PARTNERS: Final = {node: partner_of(node) for node in ("USA", "JPN")}


def passage_of(report: report_pb2.Report) -> tuple[Passage, Inclusion]:
    """A report as USA seals it to JPN in a ledger of its own."""
    epoch, opening = Epoch.open_new(str(TO_JPN), 0, [("JPN", partner_of("JPN").sealing)])
    parts = parts_of(report)
    entry = epoch.seal_parts(1, parts)
    payload = epoch.open(1, entry)
    leaves = [leaf_hash(opening), leaf_hash(entry)]
    edge, _ = Edge.empty().grow(leaves)
    checkpoint = sign_checkpoint(Checkpoint(TO_JPN, 2, edge.root()), signatory_of("USA").log)
    return Passage(TO_JPN, 1, entry, payload), Inclusion([leaves[0]], checkpoint.encode())


def disclosing(report: report_pb2.Report, *hidden: int, copy: report_pb2.Report | None = None) -> OnwardReport:
    """What JPN could make of a report of USA: everything shown but these groups."""
    passage, inclusion = passage_of(report)
    parts = passage.payload.parts
    return ledger_pb2.OnwardReport(
        report=copy or report,
        proof=ledger_pb2.OriginProof(
            origin=str(TO_JPN), index=1, entry=passage.entry, path=inclusion.path, checkpoint=inclusion.checkpoint,
            disclosed=disclose_parts(passage.payload, [n for n, part in enumerate(parts) if part.group not in hidden]),
        ),
    )  # fmt: skip
