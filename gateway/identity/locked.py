"""Private keys at rest: encrypted under one key of their directory, which a passphrase, key file or program unwraps.

A directory of secrets has one key-encryption key, the KEK: 32 random bytes. It lies in `lock.json`, wrapped::

    {"format": "signalfire/v1/lock", "kek": "<id>", "method": "passphrase", "parameters": {...}, "wrapped": "<base64>"}

=============  ==========================================================  =============================================
method         what wraps the KEK                                          parameters
=============  ==========================================================  =============================================
`passphrase`   XChaCha20-Poly1305 under Argon2id of the passphrase         `ops`, `mem` (bytes), `salt` (base64)
`key-file`     XChaCha20-Poly1305 under a file of 32 random bytes          none
`command`      a program of the site: PKCS#11, a KMS, a TPM                none
=============  ==========================================================  =============================================

Rules, in order:

1. Nobody but the owner may touch the directory's files (`private_files`), locked or not.
2. A secret file is XChaCha20-Poly1305 under the KEK with a random nonce, and the format, its kind and its file name as
   associated data: one file cannot stand in for another. It names the KEK by its id. `*.key.pem` is PKCS #8, encrypted
   with AES-256 under a password that HKDF-SHA256 derives from the KEK.
3. The KEK's id is the first 8 bytes of SHA-256 over a label and the KEK: an unwrapped KEK of another id is refused.
4. While the KEK of a directory is exchanged, `lock.json` holds the former one too, wrapped under the new one
   (`former`). So at every moment each file can be opened by the method that `lock.json` names.
5. No passphrase, key or output of a program enters a message, a log or a `repr`.

Primitives: Argon2id and XChaCha20-Poly1305 of libsodium (PyNaCl), HKDF and PKCS #8 of `cryptography`.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import CryptoError
from nacl.secret import Aead

from gateway.identity.errors import LockError, Refusal, SecretFileError
from gateway.identity.private_files import read_private

LOCK_FILE: Final = "lock.json"
LOCK_FORMAT: Final = "signalfire/v1/lock"
SEALED_FORMAT: Final = "signalfire/v1/sealed-secret"

KEK_SIZE: Final = 32
"""Bytes of a key-encryption key."""

MAX_WRAPPED: Final = 64 << 10
"""Bytes of a wrapped KEK: far more than any KMS makes of 32."""

_MAX_FORMER: Final = 4
_ID_LABEL: Final = b"signalfire/v1/kek-id\n"
_PEM_LABEL: Final = b"signalfire/v1/pem-password"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A KEK as it lies in `lock.json`: by what method it was wrapped, that method's parameters, and the bytes."""

    method: str
    kek_id: str
    parameters: Mapping[str, object]
    blob: bytes

    @property
    def associated_data(self) -> bytes:
        """What a method that wraps with an AEAD binds the KEK to."""
        return f"{LOCK_FORMAT}\n{self.method}\n{self.kek_id}".encode("ascii")


class Unwrapper(Protocol):
    """What gets a KEK back: the interface that a site's own hook (PKCS#11, KMS, TPM) implements."""

    @property
    def method(self) -> str:
        """Which method of `lock.json` it serves."""

    def unwrap(self, wrapped: Wrapped) -> bytes:
        """The KEK, 32 bytes. Raises LockError. It is asked once a start, and again when `lock.json` changes; where it
        failed, again when `lock.json` or its `Changing.state` does.
        """


@runtime_checkable
class Changing(Protocol):
    """What an unwrapper may have besides: it says when it is worth asking again after it has failed."""

    def state(self) -> object:
        """Equal to what it was before, as long as it would fail again."""


class Wrapper(Unwrapper, Protocol):
    """What can also wrap a KEK: needed where a directory is locked, never by a gateway."""

    def wrap(self, kek: bytes) -> Wrapped:
        """The KEK wrapped, so that `unwrap` gets it back. Raises LockError."""


@dataclass(frozen=True, slots=True)
class _Keks:
    """The KEKs of one directory: the current one, and those that it replaces while files are being changed over."""

    current: bytes = field(repr=False)
    former: tuple[bytes, ...] = field(default=(), repr=False)

    def by_id(self, kek_id: str) -> bytes | None:
        return next((kek for kek in (self.current, *self.former) if id_of(kek) == kek_id), None)


class KeyLock:
    """The lock of one directory of secrets, and what opens it. Unwraps the KEK once, and anew when `lock.json` changes.
    A `lock.json` that did not open is not tried again until it, or what unlocks it, has changed: that takes long.

    A directory without `lock.json` is plain: its files are read as they are. Safe to use from several threads.
    """

    def __init__(self, directory: Path, unwrapper: Unwrapper | None = None) -> None:
        self.directory = directory
        self._unwrapper = unwrapper
        self._mutex = threading.Lock()
        self._seen: bytes | None = None
        self._failed: tuple[bytes, object, SecretFileError] | None = None
        self._keks: _Keks | None = None

    def __repr__(self) -> str:
        return f"KeyLock({str(self.directory)!r})"

    @property
    def locked(self) -> bool:
        """Whether the directory has a lock."""
        return (self.directory / LOCK_FILE).exists()

    def open(self, name: str, kind: str, raw: bytes) -> bytes:
        """The plain content of the secret file `name`, whose content is `raw`: `raw` itself where it is not sealed.

        Raises LockError.
        """
        sealed = _sealed(self.directory / name, kind, raw)
        if sealed is None:
            return raw
        kek_id, blob = sealed
        kek = self._unwrapped(self.directory / name).by_id(kek_id)
        if kek is None:
            raise LockError(
                Refusal.LOCKED,
                f"the file is under the key-encryption key {kek_id}, which {LOCK_FILE} does not hold",
                where=str(self.directory / name),
                mend=f"Restore the file and {LOCK_FILE} from the same backup.",
            )
        try:
            return Aead(kek).decrypt(blob, _associated_data(kind, name))
        except CryptoError:
            raise LockError(
                Refusal.MALFORMED_FILE,
                "the sealed secret does not open: it was altered, or is another file's",
                where=str(self.directory / name),
                mend="Restore the file from its backup under its own name.",
            ) from None

    def seal(self, name: str, kind: str, plain: bytes) -> bytes:
        """What to write into the secret file `name`: sealed under the current KEK, or `plain` in a plain directory.

        Raises LockError.
        """
        if not self.locked:
            return plain
        kek = self._unwrapped(self.directory / LOCK_FILE).current
        return seal_under(kek, name, kind, plain)

    def load_pem_key(self, name: str, pem: bytes) -> PrivateKeyTypes:
        """The private key in `pem`, the content of the file `name`: PKCS #8, locked or not. Raises SecretFileError."""
        path = self.directory / name
        passwords: list[bytes | None] = [None]
        if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem:
            keks = self._unwrapped(path)
            passwords = [pem_password(kek) for kek in (keks.current, *keks.former)]
        for password in passwords:
            try:
                return serialization.load_pem_private_key(pem, password)
            except (ValueError, TypeError):
                # The library's message may quote the file, so it goes no further.
                continue
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            "the private key is not PKCS #8 PEM, plain or encrypted under this directory's lock",
            where=str(path),
            mend="If it is being replaced just now, the next connection reads it again; otherwise restore it.",
        )

    def pem(self, key: PrivateKeyTypes) -> bytes:
        """The private key in PKCS #8 PEM, encrypted where the directory is locked. Raises LockError."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self.locked:
            encryption = pem_encryption(self._unwrapped(self.directory / LOCK_FILE).current)
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    def check(self) -> None:
        """Unwraps the KEK, where there is one. Raises LockError."""
        if self.locked:
            self._unwrapped(self.directory / LOCK_FILE)

    def current_kek(self) -> bytes:
        """The KEK itself, for whoever changes the lock. Raises LockError."""
        return self.keks()[0]

    def keks(self) -> tuple[bytes, ...]:
        """The KEK and those that it replaces, for whoever changes the lock. Raises LockError."""
        found = self._unwrapped(self.directory / LOCK_FILE)
        return found.current, *found.former

    @classmethod
    def opened(cls, directory: Path, keks: tuple[bytes, ...]) -> KeyLock:
        """The lock of `directory` as it lies there now, whose KEKs are known."""
        lock = cls(directory)
        lock._seen = read_private(directory / LOCK_FILE)
        lock._keks = _Keks(keks[0], keks[1:])
        return lock

    def _unwrapped(self, wanted: Path) -> _Keks:
        with self._mutex:
            path = self.directory / LOCK_FILE
            if not path.exists():
                raise LockError(
                    Refusal.MISSING,
                    f"the file is sealed, and there is no {LOCK_FILE} beside it",
                    where=str(wanted),
                    mend=f"Restore {LOCK_FILE} from the backup that the file is from.",
                )
            raw = read_private(path)
            if self._keks is None or raw != self._seen:
                state = self._unwrapper.state() if isinstance(self._unwrapper, Changing) else None
                if self._failed is not None and self._failed[:2] == (raw, state):
                    raise self._failed[2].with_traceback(None)
                try:
                    self._keks = self._unwrap(path, raw)
                except SecretFileError as refused:
                    self._failed = raw, state, refused
                    raise
                self._seen, self._failed = raw, None
            return self._keks

    def _unwrap(self, path: Path, raw: bytes) -> _Keks:
        wrapped, former = parse_lock(path, raw)
        if self._unwrapper is None:
            raise LockError(
                Refusal.LOCKED,
                f"the keys are locked (by {wrapped.method}), and nothing is given to unlock them with",
                where=str(path),
                mend="Say in gateway.yaml how: unlock: {passphrase_file: F}, {key_file: F} or {command: [..]}; or give"
                " the passphrase.",
            )
        if self._unwrapper.method != wrapped.method:
            raise LockError(
                Refusal.WRONG_KIND,
                f"the keys are locked by {wrapped.method}, and are to be unlocked by {self._unwrapper.method}",
                where=str(path),
                mend=f"Unlock by {wrapped.method}, or change the lock with `signalfire keys relock`.",
            )
        kek = self._unwrapper.unwrap(wrapped)
        if len(kek) != KEK_SIZE or id_of(kek) != wrapped.kek_id:
            raise LockError(
                Refusal.LOCKED,
                "what was unwrapped is not the key-encryption key of this directory",
                where=str(path),
                mend=f"Check that {LOCK_FILE} and what unwraps it are of the same lock.",
            )
        older = []
        for kek_id, blob in former:
            try:
                older.append(Aead(kek).decrypt(blob, _former_data(kek_id)))
            except CryptoError:
                raise malformed_lock(path, "a former key-encryption key does not open") from None
        return _Keks(kek, tuple(older))


def new_kek() -> bytes:
    """A fresh KEK."""
    return secrets.token_bytes(KEK_SIZE)


def id_of(kek: bytes) -> str:
    """The id of a KEK: 16 hexadecimal digits, which tell nothing of it."""
    return sha256(_ID_LABEL + kek).hexdigest()[:16]


def seal_under(kek: bytes, name: str, kind: str, plain: bytes) -> bytes:
    """The content of the sealed file `name`."""
    blob = Aead(kek).encrypt(plain, _associated_data(kind, name))
    content = {
        "format": SEALED_FORMAT,
        "kind": kind,
        "kek": id_of(kek),
        "sealed": base64.b64encode(bytes(blob)).decode("ascii"),
    }
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def pem_encryption(kek: bytes) -> serialization.KeySerializationEncryption:
    """How a PEM key is encrypted under this KEK."""
    return serialization.BestAvailableEncryption(pem_password(kek))


def pem_password(kek: bytes) -> bytes:
    """The password of the PEM files of a directory: 64 hexadecimal digits."""
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_PEM_LABEL).derive(kek)
    return derived.hex().encode("ascii")


def is_sealed(raw: bytes) -> bool:
    """Whether a secret file's content is encrypted, whatever with. Reads nothing secret."""
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in raw:
        return True
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == SEALED_FORMAT


def lock_text(wrapped: Wrapped, kek: bytes, former: tuple[bytes, ...] = ()) -> bytes:
    """The content of `lock.json`: `wrapped` holds `kek`, and `former` are the KEKs that it replaces."""
    content: dict[str, object] = {
        "format": LOCK_FORMAT,
        "kek": wrapped.kek_id,
        "method": wrapped.method,
        "parameters": dict(wrapped.parameters),
        "wrapped": base64.b64encode(wrapped.blob).decode("ascii"),
        "former": [
            {
                "kek": id_of(old),
                "wrapped": base64.b64encode(bytes(Aead(kek).encrypt(old, _former_data(id_of(old))))).decode("ascii"),
            }
            for old in former
        ],
    }
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def parse_lock(path: Path, raw: bytes) -> tuple[Wrapped, list[tuple[str, bytes]]]:
    """What `lock.json` says: the wrapped KEK, and id and bytes of each former one. Raises LockError."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        raise malformed_lock(path, "the file is not JSON") from None
    if not isinstance(content, dict) or set(content) != {"format", "kek", "method", "parameters", "wrapped", "former"}:
        raise malformed_lock(path, "the members are not those of a lock")
    if content["format"] != LOCK_FORMAT:
        raise malformed_lock(path, f"the format is not {LOCK_FORMAT}")
    if not isinstance(content["method"], str) or not isinstance(content["parameters"], dict):
        raise malformed_lock(path, "method or parameters are of the wrong kind")
    if not isinstance(content["former"], list) or len(content["former"]) > _MAX_FORMER:
        raise malformed_lock(path, f"`former` is not a list of at most {_MAX_FORMER}")
    former = []
    for one in content["former"]:
        if not isinstance(one, dict) or set(one) != {"kek", "wrapped"}:
            raise malformed_lock(path, "a former key-encryption key is not written as one")
        former.append((_kek_id(path, one["kek"]), _bytes(path, one["wrapped"])))
    wrapped = Wrapped(
        content["method"], _kek_id(path, content["kek"]), content["parameters"], _bytes(path, content["wrapped"])
    )
    return wrapped, former


def malformed_lock(path: Path, what: str) -> LockError:
    """The refusal of a `lock.json` that cannot be one."""
    return LockError(
        Refusal.MALFORMED_FILE,
        f"this is no lock: {what}",
        where=str(path),
        mend=f"Restore {LOCK_FILE} from its backup: without it the keys of this directory cannot be opened.",
    )


def _sealed(path: Path, kind: str, raw: bytes) -> tuple[str, bytes] | None:
    """Id of the KEK and sealed bytes of a secret file; None where it is not sealed under a KEK."""
    if not is_sealed(raw):
        return None
    content: dict[str, Any] = json.loads(raw)
    if set(content) != {"format", "kind", "kek", "sealed"}:
        raise LockError(
            Refusal.WRONG_KIND,
            "the file is sealed, and not under the lock of a directory",
            where=str(path),
            mend="A file with a passphrase of its own (an officer's key) is read by `signalfire policy sign`.",
        )
    if content["kind"] != kind:
        raise SecretFileError(
            Refusal.WRONG_KIND,
            f"the file says that it holds another kind of key, where {kind} is meant",
            where=str(path),
            mend=f"Put the {kind} key there; never use one key for two purposes.",
        )
    return _kek_id(path, content["kek"]), _bytes(path, content["sealed"])


def _kek_id(path: Path, value: object) -> str:
    if not isinstance(value, str) or len(value) != 16 or any(digit not in "0123456789abcdef" for digit in value):
        raise malformed_lock(path, "the id of a key-encryption key is not 16 hexadecimal digits")
    return value


def _bytes(path: Path, value: object) -> bytes:
    try:
        decoded = base64.b64decode(value, validate=True)  # type: ignore[arg-type]  # what is no string raises TypeError
    except (binascii.Error, TypeError, ValueError):
        raise malformed_lock(path, "a wrapped or sealed value is not base64") from None
    if len(decoded) > MAX_WRAPPED:
        raise malformed_lock(path, f"a wrapped or sealed value has more than {MAX_WRAPPED} bytes")
    return decoded


def _associated_data(kind: str, name: str) -> bytes:
    return f"{SEALED_FORMAT}\n{kind}\n{name}".encode()


def _former_data(kek_id: str) -> bytes:
    return f"{LOCK_FORMAT}\nformer\n{kek_id}".encode("ascii")
