"""Signed notes (C2SP signed-note): a text, and the signatures of known keys over it.

Rules, in order, for a note that comes in:

1. It is at most MAX_NOTE bytes, valid UTF-8, with no ASCII control character but newline ("Format").
2. The last empty line parts the text, which keeps its final newline, from 1 to 16 signature lines ("Format").
3. A signature line is an em dash, a space, a key name (not empty, no Unicode space, no plus), a space, and
   the canonical base64 (RFC 4648 section 4, exact padding, no stray bits) of a four-byte key ID and a
   signature.
4. Name *and* key ID name a key. Lines of unknown keys are ignored, whatever they share with a known one
   ("Signatures").
5. A known key signs once. A known key's signature that does not hold condemns the whole note ("clients SHOULD
   reject the whole note"), and so does a note on which no known key has signed ("MUST").

The key ID hashes the signature type together with name and public key, so a key known under one algorithm
never answers for a line of another. The text of a note must be ignored until `verify_note` has returned.

Signatures may be randomised and re-made: to ask whether two notes say the same thing, compare their texts,
never their bytes.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Final, Protocol, TypeVar

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from gateway.ledger.errors import NoteError

MAX_SIGNATURES: Final = 16
"""Most signature lines on a note: the number that every verifier must accept (signed-note, "Format")."""

MAX_NOTE: Final = 64 * 1024
"""Largest note, bytes. The longest lines of a ledger are ML-DSA-44 cosignatures, of 3.2 KiB; sixteen of them
and the text fit, and a stranger cannot make a verifier read more before the first signature is checked."""

ED25519_KEY_SIZE: Final = 32
ED25519_SEED_SIZE: Final = 32
ED25519_SIGNATURE_SIZE: Final = 64

_DASH: Final = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NOT_IN_A_NAME = re.compile(r"[\s+\x00-\x1f]")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


class SignatureType(IntEnum):
    """Signature type identifier byte (signed-note, "Signature types"): those that this gateway uses."""

    ED25519 = 0x01
    ED25519_COSIGNATURE = 0x04
    MLDSA44_COSIGNATURE = 0x06


class Verifier(Protocol):
    """A known public key under a name, for one signature type."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> int: ...
    @property
    def algorithm(self) -> SignatureType: ...
    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature`, without its key ID, is this key's over the note text. Never raises for bad input."""
        ...


_Known = TypeVar("_Known", bound=Verifier)


class Signer(Protocol):
    """A private key under a name, for one signature type."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> int: ...
    def sign(self, text: bytes) -> bytes:
        """The signature over the note text, without its key ID."""
        ...


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note: its key's name and uint32 ID, and the bytes after the ID. Raises NoteError."""

    name: str
    key_id: int
    signature: bytes

    def __post_init__(self) -> None:
        require_key_name(self.name)
        if not 0 <= self.key_id < 2**32:
            raise NoteError(f"signature of {self.name}: key ID {self.key_id} is not 32 bits")
        if not self.signature:
            raise NoteError(f"signature of {self.name}: empty")

    @classmethod
    def parse(cls, line: str) -> SignatureLine:
        """The signature in `line`, which has no newline. Raises NoteError."""
        if not line.startswith(_DASH):
            raise NoteError("signature line does not begin with an em dash and a space")
        name, separator, encoded = line[len(_DASH) :].partition(" ")
        if not separator:
            raise NoteError("signature line has no space between key name and signature")
        raw = decode_base64(encoded)
        return cls(name, int.from_bytes(raw[:4], "big"), raw[4:])

    def encode(self) -> str:
        """The line, without a newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id.to_bytes(4, 'big') + self.signature)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, ending in newline, and 1 to 16 signatures.

    Well formed by construction, but not verified: see `verify_note`. Raises NoteError.
    """

    text: str
    signatures: tuple[SignatureLine, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n"):
            raise NoteError("note text does not end in newline")
        if (found := _CONTROL.search(self.text)) is not None:
            raise NoteError(f"note text has control character {found.group()!r} at position {found.start()}")
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise NoteError(f"note has {len(self.signatures)} signature lines, not 1 to {MAX_SIGNATURES}")

    @classmethod
    def parse(cls, raw: bytes | str) -> Note:
        """The note that `raw` spells. ``parse(raw).encode() == raw``. Raises NoteError."""
        if isinstance(raw, str):
            raw = to_utf8(raw)
        if len(raw) > MAX_NOTE:
            raise NoteError(f"note is {len(raw)} bytes; at most {MAX_NOTE} are read")
        try:
            whole = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NoteError(f"note is not UTF-8 at byte {error.start}") from error
        text, gap, lines = whole.rpartition("\n\n")
        if not gap:
            raise NoteError("note has no empty line between its text and its signatures")
        if not lines.endswith("\n"):
            raise NoteError("note does not end in a signature line and a newline")
        # Bounded before any line is decoded.
        if (count := lines.count("\n")) > MAX_SIGNATURES:
            raise NoteError(f"note has {count} signature lines; at most {MAX_SIGNATURES} are read")
        return cls(text + "\n", tuple(SignatureLine.parse(line) for line in lines[:-1].split("\n")))

    def encode(self) -> bytes:
        """The note in its one spelling. Raises NoteError when that is longer than MAX_NOTE."""
        lines = "".join(f"{signature.encode()}\n" for signature in self.signatures)
        raw = to_utf8(f"{self.text}\n{lines}")
        if len(raw) > MAX_NOTE:
            raise NoteError(f"note is {len(raw)} bytes; at most {MAX_NOTE} are read")
        return raw

    def of_keys(self, verifiers: Iterable[Verifier]) -> Note:
        """The same text with the lines of these keys alone, as a verified note is kept: whoever sent it chose how
        many lines of unknown keys stand beside them. Raises NoteError where no line is of these keys.
        """
        keys = {(verifier.name, verifier.key_id) for verifier in verifiers}
        return Note(self.text, tuple(line for line in self.signatures if (line.name, line.key_id) in keys))

    def joined(self, other: Note) -> Note:
        """The same text with the lines of another note over it after its own; over another text it has none to add."""
        known = {(line.name, line.key_id) for line in self.signatures}
        if other.text != self.text:
            return self
        return self.with_signatures(*(line for line in other.signatures if (line.name, line.key_id) not in known))

    def bears(self, verifier: Verifier) -> bool:
        """Whether a line of that key stands there, verified or not."""
        return any((line.name, line.key_id) == (verifier.name, verifier.key_id) for line in self.signatures)

    def with_signatures(self, *lines: SignatureLine) -> Note:
        """The same text with these signatures after its own. Raises NoteError for a key that has signed already."""
        return _signed_once(self.text, (*self.signatures, *lines))


def sign_note(text: str, *signers: Signer) -> Note:
    """The note that these signers, at least one and all different, make of `text`. Raises NoteError."""
    signed = to_utf8(text)
    return _signed_once(
        text, tuple([SignatureLine(signer.name, signer.key_id, signer.sign(signed)) for signer in signers])
    )


def _signed_once(text: str, signatures: tuple[SignatureLine, ...]) -> Note:
    if len({(line.name, line.key_id) for line in signatures}) != len(signatures):
        raise NoteError("a key signs a note only once")
    return Note(text, signatures)


def verify_note(note: Note, verifiers: Iterable[_Known]) -> list[_Known]:
    """Those of the known `verifiers` whose keys signed the note, in the note's order: at least one.

    Raises NoteError when none did, when one's signature does not hold or stands twice, or when two of
    `verifiers` have the same name and key ID, so that it could not be said whose signature it is.
    """
    known: dict[tuple[str, int], _Known] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) is not verifier:
            raise NoteError(f"two known keys are both called {verifier.name}+{verifier.key_id:08x}")
    text = to_utf8(note.text)
    signed: dict[tuple[str, int], _Known] = {}
    for line in note.signatures:
        key = (line.name, line.key_id)
        if key not in known:
            continue
        if key in signed:
            raise NoteError(f"note has two signatures of {line.name}+{line.key_id:08x}")
        if not known[key].verify(text, line.signature):
            raise NoteError(f"signature of {line.name}+{line.key_id:08x} does not hold over this note")
        signed[key] = known[key]
    if not signed:
        names = ", ".join(f"{name}+{key_id:08x}" for name, key_id in known) or "none"
        raise NoteError(f"note is signed by no known key (known: {names})")
    return list(signed.values())


def derive_key_id(name: str, algorithm: SignatureType, public_key: bytes) -> int:
    """Key ID of a public key under a name: SHA-256(name || 0x0A || type || key)[:4], big-endian."""
    digest = sha256(to_utf8(name) + b"\n" + bytes((algorithm,)) + public_key).digest()
    return int.from_bytes(digest[:4], "big")


def encode_vkey(name: str, algorithm: SignatureType, public_key: bytes) -> str:
    """The verifier key ``<name>+<8 hex digits of the key ID>+<base64 of type and key>``. Raises NoteError."""
    require_key_name(name)
    identifier = derive_key_id(name, algorithm, public_key)
    return f"{name}+{identifier:08x}+{encode_base64(bytes((algorithm,)) + public_key)}"


def parse_vkey(vkey: str, algorithm: SignatureType) -> tuple[str, bytes]:
    """Name and public key of a verifier key, which must be of this algorithm and carry its own key ID.

    The length of the key is for the algorithm's verifier to check. Raises NoteError.
    """
    match = _VKEY.fullmatch(vkey)
    if match is None:
        raise NoteError("verifier key is not of the form <name>+<8 lower-case hex digits>+<base64>")
    name, identifier, encoded = match.groups()
    require_key_name(name)
    raw = decode_base64(encoded)
    if raw[:1] != bytes((algorithm,)):
        raise NoteError(f"verifier key {name}: signature type 0x{raw[:1].hex()} is not 0x{algorithm:02x}")
    public_key = raw[1:]
    if f"{derive_key_id(name, algorithm, public_key):08x}" != identifier:
        raise NoteError(f"verifier key {name}: {identifier} is not the ID of this key under this name")
    return name, public_key


@dataclass(frozen=True, slots=True)
class Ed25519Verifier:
    """An Ed25519 public key (32 bytes) that signs note texts as they stand: type 0x01. Raises NoteError."""

    name: str
    public_key: bytes
    key_id: int = field(init=False)

    def __post_init__(self) -> None:
        require_key_name(self.name)
        require_length("Ed25519 public key", self.public_key, ED25519_KEY_SIZE)
        object.__setattr__(self, "key_id", derive_key_id(self.name, self.algorithm, self.public_key))

    @classmethod
    def from_vkey(cls, vkey: str) -> Ed25519Verifier:
        """The verifier of a type 0x01 verifier key. Raises NoteError."""
        return cls(*parse_vkey(vkey, SignatureType.ED25519))

    @property
    def algorithm(self) -> SignatureType:
        """Type 0x01."""
        return SignatureType.ED25519

    @property
    def vkey(self) -> str:
        """The verifier key in text."""
        return encode_vkey(self.name, self.algorithm, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is 64 bytes that this key made over `text`."""
        return verify_ed25519(self.public_key, text, signature)


class Ed25519Signer:
    """An Ed25519 private key, from its 32-byte seed, that signs note texts as they stand: type 0x01."""

    __slots__ = ("_key", "verifier")

    verifier: Ed25519Verifier

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises NoteError for a bad name, or a seed of another length."""
        self._key = ed25519_key(seed)
        self.verifier = Ed25519Verifier(name, bytes(self._key.verify_key))

    @property
    def name(self) -> str:
        """Key name."""
        return self.verifier.name

    @property
    def key_id(self) -> int:
        """Key ID."""
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        """The 64-byte signature over `text`."""
        return self._key.sign(text).signature

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.verifier.vkey!r})"


def ed25519_key(seed: bytes) -> SigningKey:
    """The private key with this 32-byte seed. Raises NoteError."""
    require_length("Ed25519 seed", seed, ED25519_SEED_SIZE)
    return SigningKey(seed)


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is a valid Ed25519 signature (RFC 8032) of the 32-byte key over `message`."""
    if len(signature) != ED25519_SIGNATURE_SIZE:
        return False
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def require_key_name(name: str) -> None:
    """Raise NoteError unless `name` can be a key's: not empty, no Unicode space, no plus, no control
    character.
    """
    if not name or _NOT_IN_A_NAME.search(name) is not None:
        raise NoteError(f"key name {name!r} is empty, or has a space, a plus or a control character")
    to_utf8(name)


def require_length(what: str, value: bytes, length: int) -> None:
    """Raise NoteError unless `value` has this many bytes. The message does not show the value."""
    if len(value) != length:
        raise NoteError(f"{what} is {len(value)} bytes, not {length}")


def encode_base64(raw: bytes) -> str:
    """Standard base64 with padding."""
    return b2a_base64(raw, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The bytes that `text` spells in canonical standard base64. Raises NoteError for any other spelling."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"not standard base64: {error}") from error
    # The decoder forgives stray bits before the padding; one value must have one spelling.
    if encode_base64(raw) != text:
        raise NoteError("base64 is not in its one canonical spelling")
    return raw


def to_utf8(text: str) -> bytes:
    """The bytes of a note text or key name. Raises NoteError for a lone surrogate."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NoteError(f"text cannot be written in UTF-8 at position {error.start}") from error
