"""The store and the keys of a configured gateway, opened to be read beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gateway.audit.signers import Signers
from gateway.clock import Clock
from gateway.config import Config
from gateway.exchange.bundle_record import BundleRecord
from gateway.exchange.partners import Partners, Pinned
from gateway.identity.keyring import Keyring
from gateway.ledger.stores import StoreReader
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.key_switch import keys_on_record
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory


@contextmanager
def reading(config: Config) -> Iterator[StoreReader]:
    """A reader of the store. Raises StoreError."""
    reader = SqliteReader(config.store)
    try:
        yield reader
    finally:
        reader.close()


def partners_of(config: Config, reader: StoreReader) -> Partners:
    """The partners as the newest of their bundles show them: the file's, or the one that came in band."""
    record = BundleRecord(reader.meta)
    roots = {node: partner.root for node, partner in config.partners.items()}
    return Partners.load(
        [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()],
        Clock().now,
        lambda node: record.sequence(node, roots[node]),
        lambda node: record.note(node, roots[node]),
    )


def at_work(config: Config, reader: StoreReader) -> tuple[Opener, Mapping[str, Signers]]:
    """What opens entries with every sealing key that the node holds, and the keys in use of it and of its partners.

    Raises IdentityError, KeyNotHeld and StoreError.
    """
    ring = Keyring.load(config.keys, config.key_lock())
    signatory = Signatory.from_ring(config.node, ring, keys_on_record(reader))
    signers = {node: Signers.of(partner) for node, partner in partners_of(config, reader).keys().items()}
    signers[config.node] = Signers.of_own(signatory)
    return Opener(config.node, signatory.sealing), signers
