"""What the stores and files of a run must be when it is over: sound, in agreement, and without what stays elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from gateway.seal.errors import SealError
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


def judge_stores(places: Mapping[str, Deployed], *, settled: bool = True) -> Stores:
    """Verifies every store from its entries and keys, opens what every node holds of others, and looks through every
    file. No gateway runs. `settled`: every ledger was at rest, so that each replica must be whole and have its receipt.
    """
    outcomes: dict[str, Verification] = {}
    faults = []
    opened = 0
    for node, place in places.items():
        outcomes[node] = verify_configured(configuration.load(place.config), quiet=True)
        found, count = _looked_through(place)
        faults += found
        opened += count
        faults += _in_clear(place)
    if settled:
        faults += verdict(outcomes)
    else:
        faults += [f"{node}: {finding}" for node, outcome in outcomes.items() for finding in outcome.findings]
    entries = sum(check.size for outcome in outcomes.values() for check in outcome.ledgers)
    return Stores(faults, entries, opened)


def _looked_through(place: Deployed) -> tuple[list[str], int]:
    """Opens every entry that partners wrote for this node, whether or not a subscriber was given it."""
    config = configuration.load(place.config)
    signatory = Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock()))
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
                found += [
                    f"leaked: {config.node} holds {marker.decode()} in {row.origin} entry {index}"
                    for marker in markers(config.node)
                    if marker in content
                ]
    return found, count


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
