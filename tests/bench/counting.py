"""Counts the work that code does, by looking on: nothing is replaced, so what is counted is what really happens.

The interpreter tells a profile function of every call, into C as well: each signature, encryption, hash, statement and
message that is read or written is such a call, whoever makes it, by whatever way. Syncs are counted below SQLite.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, Final

import apsw

from gateway.reports.validate import validate_released, validate_submitted
from policy.cel import Condition, Fused

SYNCS: Final = "syncs"
VFS: Final = "counting"
"""Stores that are opened by it have their syncs counted."""

_IN_C: Final = {
    "Ed25519 signatures": {"Lib.crypto_sign", "Lib.crypto_sign_detached", "Ed25519PrivateKey.sign"},
    "Ed25519 verifications": {"Lib.crypto_sign_open", "Lib.crypto_sign_verify_detached", "Ed25519PublicKey.verify"},
    "ML-DSA signatures": {"MLDSA44PrivateKey.sign"},
    "ML-DSA verifications": {"MLDSA44PublicKey.verify"},
    "seals": {"AESGCMSIV.encrypt", "AESGCMSIV.encrypt_into"},
    "openings": {"AESGCMSIV.decrypt", "AESGCMSIV.decrypt_into"},
    "hashes": {"sha256", "openssl_sha256"},
    "random draws": {"urandom", "randombytes"},
    "messages read": {"FromString", "ParseFromString", "MergeFromString"},
    "messages written": {"SerializeToString", "SerializePartialToString"},
    "statements": {"Connection.execute", "Connection.executemany", "Cursor.execute", "Cursor.executemany"},
}
"""By kind of work, the functions of which each call is a unit: a method by its class, or by its name alone."""
_IN_PYTHON: Final[Mapping[CodeType, str]] = {
    validate_submitted.__code__: "reports validated",
    validate_released.__code__: "reports validated",
    # What CEL's library does is not a call into C that is always told.
    Fused.evaluate.__code__: "conditions asked",
    Condition.holds.__code__: "conditions asked",
}

_KIND: Final = {function: kind for kind, functions in _IN_C.items() for function in functions}


class Counting:
    """Counts within `on`, in this thread and in those that were started within `watching`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._on = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Threads that start within it are looked at, and stores that are opened by the VFS `VFS`."""
        vfs = _Vfs(self._synced)
        before = sys.getprofile()
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(before)
            vfs.unregister()

    @contextlib.contextmanager
    def on(self) -> Iterator[Counter[str]]:
        """What is done within it, by kind of work; complete when it ends."""
        counts = self._counts = Counter()
        self._on = True
        try:
            yield counts
        finally:
            self._on = False

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if not self._on:
            return
        if event == "c_call":
            name = argument.__name__
            kind = _KIND.get(name) or _KIND.get(f"{type(argument.__self__).__name__}.{name}")
            if kind is not None:
                self._counts[kind] += 1
        elif event == "call" and frame.f_code in _IN_PYTHON:
            self._counts[_IN_PYTHON[frame.f_code]] += 1

    def _synced(self) -> None:
        if self._on:
            self._counts[SYNCS] += 1


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], synced: Any) -> None:
        super().__init__("", name, flags)
        self._synced = synced

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._synced()
        super().xSync(flags)


class _Vfs(apsw.VFS):
    """The real one, which tells of each sync."""

    def __init__(self, synced: Any) -> None:
        super().__init__(VFS, "")
        self._told = synced

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(name, flags, self._told)
