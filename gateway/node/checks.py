"""What can be said of a gateway before it starts, with nothing opened but, to read, a store that is there already:
what `signalfire serve --check` asks. A start warns of the same remarks.
"""

from __future__ import annotations

import contextlib
import logging

from gateway.config import Config
from gateway.exchange.bundle_record import BundleRecord
from gateway.exchange.partners import Partners
from gateway.identity.national import NationalAuthorities
from gateway.identity.relocking import plainness
from gateway.ledger.errors import StoreVersionError
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.node.parts import Parts
from gateway.release.governance import faults_of_files, read_roster
from gateway.release.key_switch import keys_on_record
from gateway.release.own_keys import require_own_keys

log = logging.getLogger(__package__)

NO_RECOVERY = (
    "{keys}: there is no recovery.pub, so no recovery records are kept: were the store lost, partners could not give"
    " back what was decided. Copy it from the nation's directory, or make it with `signalfire pki recovery`."
)
"""What is remarked where the nation's recovery key is not there."""


def refused_files(config: Config) -> list[str]:
    """What is wrong with the roster, the policy and the orders of the configuration."""
    return faults_of_files(config.node, config.roster, config.policy, config.order)


def require_the_stores_keys(parts: Parts) -> None:
    """Whether the keys are those of the store, where there is one. Raises KeyNotHeld or StoreError."""
    store = parts.config.store
    if not store.exists():
        return
    try:
        with contextlib.closing(SqliteReader(store)) as reader:
            require_own_keys(reader, parts.signatory.using(keys_on_record(reader)))
    except StoreVersionError as error:
        # It is brought up to date at the start, which asks again.
        log.warning("whether the keys are those of the store is asked at the start: %s", error)


def refused_bundles(parts: Parts) -> dict[str, tuple[str, int]]:
    """Why the trust bundle files of partners are not believed, and the sequence on record that would be in use in
    their place, 0 for none; by node. Raises StoreError.
    """
    store = parts.config.store
    with contextlib.ExitStack() as stack:
        record = None
        if store.exists():
            with contextlib.suppress(StoreVersionError):
                record = BundleRecord(stack.enter_context(contextlib.closing(SqliteReader(store))).meta)
        found = Partners.load(
            parts.pinned,
            parts.clock.now,
            lambda node: 0 if record is None else record.sequence(node, parts.root_of(node)),
            lambda node: None if record is None else record.note(node, parts.root_of(node)),
        )
    refused = {}
    for node, why in found.refused.items():
        bundle = found.bundle(node)
        refused[node] = (why, 0 if bundle is None else bundle.sequence)
    for pin in parts.pinned:
        bundle = found.bundle(pin.node)
        if pin.node not in refused and bundle is not None and found.note(pin.node) != pin.bundle.read_bytes():
            refused[pin.node] = (f"{pin.bundle} is older than what is on record", bundle.sequence)
    return refused


def remarks(parts: Parts) -> list[str]:
    """What is allowed in the configuration's keys and roster, and should be known. The roster must be in order."""
    return [*key_remarks(parts), *read_roster(parts.config.roster, parts.config.node).remarks()]


def key_remarks(parts: Parts) -> list[str]:
    """The same of the keys alone. Raises IdentityError where the authorities cannot be believed."""
    keys = parts.config.keys
    without = [] if parts.identity.recovery is not None else [NO_RECOVERY.format(keys=keys)]
    national = NationalAuthorities(keys, parts.config.node)
    return [*plainness(keys), *without, *national.remarks(parts.clock.now())]
