"""Keys that change while a gateway runs: from the keys directory and the own trust bundle to what is in use.

Rules, in order, at every look:

1. The keyring is read again where the directory has changed. One that cannot be read, or lacks a key in use, changes
   nothing, loudly.
2. The own bundle is read again where its file, or the keyring, has changed (`gateway.exchange.own_bundle`), and put on
   record. From then on partners are given it in band.
3. A storage key that was never in use is taken into use: the newest file, where there are several, and then none of the
   others any more. Nobody has to know.
4. Of sealing keys, the first of the bundle's list that the keyring holds is taken into use.
5. Of log, receipt and post-quantum keys likewise, once nobody has to be waited for: a partner is, as long as its bundle
   is in force and it was heard of within `silent_s`, until each of its gateways has said that it believes this bundle
   or a later one. A partner that was silent longer is given the bundle with the first message of its next stream,
   before anything that the new keys have signed.
6. A key in use that the bundle names as retired is not waited for: whoever has taken up the bundle refuses it already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from signalfire.v1 import officer_pb2

from gateway.exchange.bundle_record import BundleRecord, TakeUp
from gateway.exchange.own_bundle import SIGNING, OwnBundle, listed, retired, wanted
from gateway.exchange.partners import Partners
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import KeyKind, Keyring, key_files
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, tls_key_id
from gateway.ledger.stores import StoreReader
from gateway.release.errors import KeyNotHeld
from gateway.release.key_switch import USED_STORAGE, SwitchKeys
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Signatory
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

SILENT_S: Final = 7 * 86_400.0
"""Seconds after which a partner that is not heard of holds back no key of this node."""

_ORDER: Final = (KeyKind.LOG, KeyKind.RECEIPT, KeyKind.PQ, KeyKind.SEALING, KeyKind.STORAGE)


class Rotation:
    """Looks after the keys of one gateway. Belongs to the event loop's thread."""

    def __init__(
        self,
        keys: Path,
        lock: KeyLock,
        *,
        signatory: Signatory,
        own: OwnBundle,
        partners: Partners,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        watch: Watch,
        telemetry: Telemetry,
        monotonic: Callable[[], float],
        silent_s: float = SILENT_S,
    ) -> None:
        self._keys = keys
        self._lock = lock
        self._signatory = signatory
        self._own = own
        self._partners = partners
        self._sequencer = sequencer
        self._reader = reader
        self._watch = watch
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._silent_s = silent_s
        self._started = monotonic()
        self._seen = self._files()
        self._problem = ""
        self._waiting: tuple[str, ...] = ()

    async def look(self) -> None:
        """Looks once. Raises Unavailable, StepRefused or LedgerError where what is due cannot be made durable."""
        await self._read_keyring()
        self._own.refresh()
        bundle = self._own.bundle
        if bundle is not None:
            self._telemetry.bundle_sequence.labels(node=bundle.node).set(bundle.sequence)
            if not BundleRecord(self._reader().meta).holds(bundle.node, self._own.root, self._own.note):
                await self._sequencer.do(TakeUp(bundle, self._own.note, self._own.root, "our own"))
        changes = self._due()
        if changes:
            await self._switch(changes)

    def _files(self) -> Mapping[str, tuple[int, int, int]]:
        """Name, inode, time and size of every key file: what shows that the directory has changed."""
        found = {}
        for kind in KeyKind:
            for path in key_files(self._keys, kind):
                try:
                    at = path.stat()
                except OSError:
                    continue
                found[path.name] = (at.st_ino, at.st_mtime_ns, at.st_size)
        return found

    async def _read_keyring(self) -> None:
        files = self._files()
        if files == self._seen:
            return
        try:
            # In a thread: where the lock has changed, a passphrase is worked on for a second.
            ring = await asyncio.to_thread(Keyring.load, self._keys, self._lock)
            self._signatory.adopt(self._signatory.using({}, ring))
        except (IdentityError, KeyNotHeld) as refused:
            if str(refused) != self._problem:
                log.error("the keys directory is not read again, and nothing changes: %s", refused)
            self._problem = str(refused)
            return
        self._seen, self._problem = files, ""
        log.info("the keys directory was read again: %d keys", sum(len(of_kind) for of_kind in ring.keys.values()))

    # --- what is due

    def _due(self) -> dict[KeyKind, str]:
        changes: dict[KeyKind, str] = {}
        storage = self._newest_storage()
        if storage is not None:
            changes[KeyKind.STORAGE] = storage
        bundle = self._own.bundle
        if bundle is None:
            return changes
        for kind in (*SIGNING, KeyKind.SEALING):
            key = wanted(bundle, self._signatory, kind)
            if key is not None and key.key_id != self._signatory.in_use[kind]:
                changes[kind] = key.key_id
        announced = [
            kind for kind in SIGNING if kind in changes and self._signatory.held(kind).public in listed(bundle, kind)
        ]
        if announced and (waiting := self.waiting_for()):
            if waiting != self._waiting:
                names = ", ".join(announced)
                log.info("%s: taken into use when known to %s", names, ", ".join(waiting))
            for kind in announced:
                del changes[kind]
            self._waiting = waiting
        else:
            self._waiting = ()
        return changes

    def waiting_for(self) -> tuple[str, ...]:
        """The partners who have not said yet that they believe the own bundle, and are waited for."""
        since = self._monotonic() - self._silent_s
        found = []
        for node, link in self._partners.links.items():
            if self._partners.get(node) is None:
                continue
            known = link.known_since(since)
            # Nobody can be told silent before a gateway has run for that long.
            if known < self._own.sequence if known is not None else self._started >= since:
                found.append(node)
        return tuple(found)

    def _newest_storage(self) -> str | None:
        """A storage key that was never in use, the newest of them by its file; None where there is none."""
        current = self._signatory.in_use[KeyKind.STORAGE]
        held = self._signatory.ring.keys[KeyKind.STORAGE]
        if len(held) == 1:
            return None
        default = self._signatory.ring.default(KeyKind.STORAGE).key_id
        used = {*(self._reader().meta(USED_STORAGE) or b"").decode().split(" "), current, default}
        fresh = [key for key in held.values() if key.key_id not in used and key.file in self._seen]
        return max(fresh, key=lambda key: self._seen[key.file][1]).key_id if fresh else None

    async def _switch(self, changes: dict[KeyKind, str]) -> None:
        bundle = self._own.bundle
        reason = "a new storage key" if bundle is None else f"trust bundle {bundle.sequence}"
        switched = await self._sequencer.do(SwitchKeys(changes, reason))
        for kind in switched:
            self._telemetry.key_switches.labels(kind=kind.value).inc()
        log.warning("keys in use from now on: %s", ", ".join(f"{kind} {of}" for kind, of in switched.items()))
        # Whoever follows a ledger of this node gets what the new keys have signed again.
        for head in self._sequencer.heads():
            if not head.replica:
                self._watch.ledger_bell(head.origin).ring()

    # --- status

    def status(self) -> officer_pb2.GetKeyStatusResponse:
        """The keys of this node, where each stands, and what partners know of its bundle."""
        response = officer_pb2.GetKeyStatusResponse(bundle_sequence=self._own.sequence)
        for kind in _ORDER:
            for key_id, key in self._signatory.ring.keys[kind].items():
                response.keys.add(kind=kind.value, key_id=key_id, state=self._state(kind, key_id, key.public))
        try:
            certificates = x509.load_pem_x509_certificates((self._keys / GATEWAY_CERTIFICATE).read_bytes())
        except (OSError, ValueError) as error:
            log.error("the gateway's certificate cannot be read: %s", error)
            certificates = []
        for certificate in certificates[:1]:
            tls = response.keys.add(
                kind="tls", key_id=tls_key_id(certificate.public_key()), state=officer_pb2.KEY_STATE_CURRENT
            )
            tls.expires.FromDatetime(certificate.not_valid_after_utc)
        for node in self._partners:
            known = self._partners.links[node].known_since(float("-inf"))
            response.known.add(partner=node, sequence=known or 0)
        return response

    def _state(self, kind: KeyKind, key_id: str, public: bytes) -> officer_pb2.KeyState.ValueType:
        used = self._signatory.held(kind)
        if key_id == used.key_id:
            return officer_pb2.KEY_STATE_CURRENT
        bundle = self._own.bundle
        if kind is KeyKind.STORAGE:
            was = (self._reader().meta(USED_STORAGE) or b"").decode().split(" ")
            return officer_pb2.KEY_STATE_RETIRED if key_id in was else officer_pb2.KEY_STATE_NEW
        if bundle is None:
            return officer_pb2.KEY_STATE_NEW
        keys = listed(bundle, kind)
        if public in retired(bundle, kind):
            return officer_pb2.KEY_STATE_RETIRED
        if public not in keys:
            # Sealing keys leave the list and are named nowhere else: the default one was in use first.
            first = self._signatory.ring.default(kind).key_id == key_id
            return officer_pb2.KEY_STATE_RETIRED if first else officer_pb2.KEY_STATE_NEW
        after = used.public in keys and keys.index(public) > keys.index(used.public)
        return officer_pb2.KEY_STATE_RETIRED if after else officer_pb2.KEY_STATE_ANNOUNCED
