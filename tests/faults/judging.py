"""What the stores and files of a run must be when it is over: sound, in agreement, and without what stays elsewhere."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway import config as configuration
from gateway.audit.verify import Verification
from gateway.cli.demo import verdict
from gateway.cli.ledger import verify_configured
from gateway.client import ClientError
from gateway.demo.deployment import Deployed
from gateway.identity.keyring import Keyring
from gateway.ledger.stores import LedgerId
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from gateway.seal.epoch import content_of
from gateway.seal.errors import SealError
from tests.faults.books import Books
from tests.faults.copies import differing
from tests.faults.traffic import markers

ENDED: Final = "this ledger has ended"
"""In what is found about a ledger of a node whose store was lost or set back: it lost its tail, or there are two of it,
where the node wrote on the old copy before it noticed. Its successor goes on.
"""

CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Stores:
    """What was found in the stores."""

    faults: list[str]
    entries: int
    """Entries of all ledgers that were verified, replicas among them."""
    opened: int
    """Entries of replicas that were opened and looked through."""


def judge_stores(places: Mapping[str, Deployed], *, settled: bool = True, books: Books | None = None) -> Stores:
    """Verifies every store from its entries and keys, opens what every node holds of others, and looks through every
    file. No gateway runs. `settled`: every ledger was at rest, so that each replica must be whole and have its receipt.
    With `books` every report that was accepted stands in its own nation's store, as it was pushed, and marked as
    recalled where it was; and what subscribers were given is what stands where they were told that it does.
    """
    outcomes: dict[str, Verification] = {}
    faults = []
    opened = 0
    for node, place in places.items():
        outcomes[node] = verify_configured(configuration.load(place.config), quiet=True)
        found, count, contents = _looked_through(place)
        faults += found
        if books is not None:
            faults += _at_home(place, books)
            if settled:
                faults += _where_it_stands(books, node, contents)
        opened += count
        faults += _in_clear(place)
    if settled:
        faults += verdict(outcomes)
    else:
        faults += [f"{node}: {finding}" for node, outcome in outcomes.items() for finding in outcome.findings]
    entries = sum(check.size for outcome in outcomes.values() for check in outcome.ledgers)
    return Stores(faults, entries, opened)


def _at_home(place: Deployed, books: Books) -> list[str]:
    """What of a nation's own accepted reports is not in its store, or otherwise than it was pushed."""
    config = configuration.load(place.config)
    storage = _signatory(config).storage
    recalled, found = books.recalled_by(config.node), []
    with contextlib.closing(SqliteReader(config.store)) as store:
        for node, report_id in books.accepted.keys() - books.forgotten_unnoticed():
            if node != config.node:
                continue
            row = store.report(uuid.UUID(report_id).bytes)
            what = f"report {report_id}, which {node} accepted,"
            if row is None or not row.payload:
                found.append(f"lost: {what} is not in its store" + (" with its content" if row is not None else ""))
                continue
            kept = report_pb2.Report.FromString(storage.open(row.payload, row.report_id))
            if fields := differing(books.pushed[node, report_id], kept):
                found.append(f"altered: {what} stands in its store with other {', '.join(fields)}")
            if (row.withdrawn_ns is not None) != (report_id in recalled):
                found.append(
                    f"stands: {what} is wrongly {'' if report_id in recalled else 'not '}standing in its store"
                )
        for seq in range(1, store.last_report() + 1):
            kept_row = store.report_at(seq)
            if kept_row is not None:
                report_id = str(uuid.UUID(bytes=kept_row.report_id))
                if (config.node, report_id) not in books.pushed:
                    found.append(f"invented: {config.node} has accepted {report_id}, which nobody pushed")
    return found


def _where_it_stands(books: Books, node: str, contents: Mapping[tuple[str, int], bytes]) -> list[str]:
    """What subscribers were given and does not stand where they were told that it does."""
    return [
        f"altered: {node} received {item.report.report_id}, and something else stands at {item.index} of {item.ledger}"
        for (each, _), stream in books.streams.items()
        if each == node
        for item in stream.received
        if report_pb2.Report.FromString(contents.get((item.ledger, item.index), b"")) != item.report
    ]


def _signatory(config: configuration.Config) -> Signatory:
    return Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock()))


def _looked_through(place: Deployed) -> tuple[list[str], int, dict[tuple[str, int], bytes]]:
    """Opens every entry that partners wrote for this node, whether or not a subscriber was given it. Returns what is
    wrong, how many were opened, and the reports in them by ledger and index.
    """
    config = configuration.load(place.config)
    signatory = _signatory(config)
    reports: dict[tuple[str, int], bytes] = {}
    opener = Opener(config.node, signatory.sealing)
    found, count = [], 0
    with contextlib.closing(SqliteReader(config.store)) as store:
        for row in store.ledgers():
            if not row.replica or row.origin.recipient != config.node:
                continue

            def fetch(index: int, ledger: LedgerId = row.id) -> bytes:
                return store.entry(ledger, index) or b""

            for index in range(row.size):
                entry = store.entry(row.id, index)
                if entry is None:
                    continue
                try:
                    payload = opener.payload(row.origin, index, entry, fetch)
                except SealError as error:
                    found.append(f"{row.origin} entry {index}: {error}")
                    continue
                content = b"" if payload is None else payload.SerializeToString()
                count += 1
                if payload is not None:
                    inside = ledger_pb2.EntryContent.FromString(content_of(payload))
                    reports[str(row.origin), index] = inside.report.SerializeToString()
                found += [
                    f"leaked: {config.node} holds {marker.decode()} in {row.origin} entry {index}"
                    for marker in markers(config.node)
                    if marker in content
                ]
    return found, count, reports


def _in_clear(place: Deployed) -> list[str]:
    """Files of a nation's gateway in which a text stands in clear that must not, be it of its own reports: store, logs,
    whatever it left. (Identifiers of events do stand in the store, those that the nation may have.)
    """
    return [
        f"leaked: {path.relative_to(place.directory.parent)} holds {marker.decode()} in clear"
        for path in sorted(place.directory.rglob("*"))
        for marker in markers(place.node)
        if path.is_file() and _holds(path, marker)
    ]


def _holds(path: Path, text: bytes) -> bool:
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if text in before + chunk:
                return True
            before = chunk[-len(text) :]
    return False


async def reconcile(places: Mapping[str, Deployed], *, forgot: Collection[str] = ()) -> tuple[list[str], int]:
    """Has every gateway compare every ledger with every partner. Returns what parts, and how many were compared.

    All but witness ledgers are at rest, so that neither side may be behind, but where one of these nodes `forgot` what
    it had.
    """
    found, compared = [], 0
    for node, place in places.items():
        for partner in places:
            if partner == node:
                continue
            try:
                async for each in place.officer().reconcile(partner):
                    compared += 1
                    if each.finding and ENDED in each.finding and each.ledger.split("/")[2] in forgot:
                        # That is what happened, and both say so.
                        continue
                    if each.finding:
                        found.append(f"{node} and {partner} part: {each.ledger}: {each.finding}")
                    elif (
                        not forgot
                        and "/witness/" not in each.ledger
                        and each.agreed_size < max(each.size, each.partner_size)
                    ):
                        sizes = f"{each.size} and {each.partner_size} entries, {each.agreed_size} of them the same"
                        found.append(f"{node} and {partner}: {each.ledger}: {sizes}")
            except (ClientError, ConnectionError) as error:
                found.append(f"{node} could not compare with {partner}: {error}")
    return found, compared
