"""A store with ledgers worth exporting, and the folders that both nations write."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.audit.export import ExportRequest, export
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import KeptBackRow
from gateway.release.pipeline import TakeReport
from gateway.release.steps import KeepUnopenable
from tests.audit.nations import TO_KOR, TO_USA, confirmed
from tests.release.world import RELEASE_ALL, Site, anything, rules
from tests.reports.examples import launch_detection

RULES: Final = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
REPORTS: Final = [launch_detection(seed) for seed in range(1, 6)]
KEPT_BACK: Final = 2
"""Index of the entry that is kept back from USA."""
UNOPENABLE: Final = 4
"""Index of the entry of which KOR says that it cannot use it."""


def fill(jpn: Site, kor: Site, usa: Site) -> None:
    """JPN releases reports in several commits, of which one fills more than a tile, and both partners confirm."""
    jpn.do_all(*(TakeReport.of(report, "c2", anything) for report in REPORTS[:3]), rulebook=RULES)
    confirmed(jpn, kor)
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    for _ in range(600):
        writer.append(ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString())
    jpn.keep(plan)
    jpn.take(REPORTS[3], RULES)
    confirmed(jpn, kor)
    confirmed(jpn, usa, TO_USA)
    jpn.take(REPORTS[4], RULES)
    _keep_back(jpn)
    entry = jpn.store.entry(jpn.row(TO_KOR).id, UNOPENABLE)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, UNOPENABLE, leaf_hash(entry), "a test")
    jpn.do(KeepUnopenable(TO_KOR, statement.sign(kor.signatory.gateway), jpn.partners["KOR"]))


def _keep_back(jpn: Site) -> None:
    ledger = jpn.row(TO_USA).id
    entry = jpn.store.entry(ledger, KEPT_BACK)
    assert entry is not None
    reason = EntryStatement(EntryStatementKind.ABSENT, "JPN", TO_USA, KEPT_BACK, leaf_hash(entry), "it is suspended")
    plan = jpn.plan()
    plan.ledgers.keep_back(KeptBackRow(ledger, KEPT_BACK, reason.reason, reason.sign(jpn.signatory.gateway)))
    jpn.keep(plan)


def write(site: Site, directory: Path, **wanted: object) -> Path:
    """A folder of a site's ledgers."""
    export(site.store, site.node, directory, ExportRequest(**wanted), signer=site.signatory.gateway)  # type: ignore[arg-type]
    return directory
