"""The store and the keys of a configured gateway, opened to be read beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.config import Config
from gateway.identity.keyring import Keyring
from gateway.ledger.stores import StoreReader
from gateway.ledger.stores.sqlite import SqliteReader
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


def opener_of(config: Config) -> Opener:
    """What opens entries with every sealing key that the node holds. Raises IdentityError."""
    return Opener(config.node, Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock())).sealing)
