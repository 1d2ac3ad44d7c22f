"""The roster: the officers whose signatures count, and how many each thing takes. No I/O.

An officer is known by name *and* key; the key is an Ed25519 key (RFC 8032), written as a C2SP verifier key
(signed-note, "Verifier keys") under the name ``signalfire/v1/<NODE>/officer/<name>``. Rules for a roster, in order:

1. Names are 1 to 63 of ``a-z 0-9 -``; no name and no key stands twice, so that two signatures are of two people.
2. ``loosen`` is at least 2, and at most the number of officers: else nothing could ever be put in force.
3. ``tighten`` is at least 1, and at most ``loosen``.
4. ``remove_invariant`` is more than ``loosen``; where the roster has no more officers than ``loosen``, it is all of
   them, and ``remarks`` says that removing an invariant then takes no more than loosening.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

from nacl.bindings import crypto_core_ed25519_is_valid_point
from pydantic import BaseModel, ConfigDict, ValidationError
from signalfire.v1 import officer_pb2

from policy.errors import PolicyError, Problem
from policy.limits import DEFAULT_LIMITS
from policy.yaml_source import line_of, plain, read

KEY_SIZE: Final = 32
"""Bytes of an Ed25519 public key."""

MAX_OFFICERS: Final = 64
"""Officers of one roster: more than a nation's release authority has; bounds the signatures that are checked."""

_ED25519: Final = b"\x01"
"""Type of an Ed25519 key in a C2SP verifier key."""

_DIGEST_CONTEXT: Final = b"signalfire/officer-roster/v1"
_Value = TypeVar("_Value", str, bytes)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NODE = re.compile(r"[A-Z]{3}")
_VKEY = re.compile(r"signalfire/v1/([A-Z]{3})/officer/([a-z0-9-]{1,63})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})")


@dataclass(frozen=True, slots=True, order=True)
class Officer:
    """One officer: name, and Ed25519 public key (32 bytes)."""

    name: str
    key: bytes

    def key_id(self, node: str) -> bytes:
        """Key id of the verifier key (C2SP signed-note): first 4 bytes of SHA-256(name, newline, type, key)."""
        return sha256(f"{_key_name(node, self.name)}\n".encode() + _ED25519 + self.key).digest()[:4]

    def vkey(self, node: str) -> str:
        """The verifier key, one line: what a roster lists."""
        encoded = base64.b64encode(_ED25519 + self.key).decode("ascii")
        return f"{_key_name(node, self.name)}+{self.key_id(node).hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many different officers must sign."""

    loosen: int = 2
    """What may release more than before."""
    tighten: int = 1
    """What is proved to release nothing that was not released before."""
    remove_invariant: int = 3
    """A bundle that lacks an invariant of the one before, or has it weakened."""


@dataclass(frozen=True, slots=True)
class Roster:
    """The officers of a node, by name, and the thresholds. ``faults`` says whether it can govern."""

    node: str
    officers: tuple[Officer, ...]
    thresholds: Thresholds

    @property
    def digest(self) -> bytes:
        """SHA-256 of the roster, 32 bytes: what the first order names as the one before it.

        Hashed are the text ``signalfire/officer-roster/v1``, the node, each officer's verifier key in the order of
        their names, and the three thresholds in decimal; each after its own length, as eight bytes, big-endian.
        """
        parts = [_DIGEST_CONTEXT, self.node.encode()]
        parts += [officer.vkey(self.node).encode() for officer in sorted(self.officers)]
        levels = self.thresholds
        parts += [str(number).encode() for number in (levels.loosen, levels.tighten, levels.remove_invariant)]
        digest = sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def named(self, name: str) -> Officer | None:
        """The officer of that name."""
        return next((officer for officer in self.officers if officer.name == name), None)

    def faults(self) -> list[str]:
        """Why the roster cannot govern a node, each a sentence; empty where it can."""
        found = []
        count, levels = len(self.officers), self.thresholds
        if not 2 <= count <= MAX_OFFICERS:
            found.append(f"A roster has 2 to {MAX_OFFICERS} officers, and this one has {count}.")
        for officer in self.officers:
            if _NAME.fullmatch(officer.name) is None:
                found.append(f'"{officer.name[:64]}" is no name of an officer: use 1 to 63 of a-z, 0-9 and "-".')
            if len(officer.key) != KEY_SIZE or not crypto_core_ed25519_is_valid_point(officer.key):
                found.append(f"The key of {officer.name} is no Ed25519 key.")
        found += [f"The name {name} stands twice." for name in _twice(officer.name for officer in self.officers)]
        for key in _twice(officer.key for officer in self.officers):
            names = " and ".join(officer.name for officer in self.officers if officer.key == key)
            found.append(f"{names} have the same key.")
        if levels.loosen < 2:
            found.append(f"loosen is {levels.loosen}: loosening takes two different officers or more.")
        if levels.loosen > count:
            found.append(f"loosen is {levels.loosen}, and there are {count} officers: nothing could be put in force.")
        if not 1 <= levels.tighten <= max(1, levels.loosen):
            found.append(f"tighten is {levels.tighten}: it is at least 1 and at most loosen ({levels.loosen}).")
        if levels.remove_invariant > count:
            found.append(f"remove_invariant is {levels.remove_invariant}, and there are {count} officers.")
        elif levels.remove_invariant < min(count, levels.loosen + 1):
            found.append(
                f"remove_invariant is {levels.remove_invariant}: removing an invariant takes more officers than"
                f" loosening ({levels.loosen}), or all of them."
            )
        return found

    def remarks(self) -> list[str]:
        """What is allowed and should be known, each a sentence."""
        if self.thresholds.remove_invariant <= self.thresholds.loosen:
            return [
                f"With {len(self.officers)} officers, removing an invariant takes no more signatures than loosening"
                f" ({self.thresholds.loosen}). Name another officer, and raise remove_invariant."
            ]
        return []

    def text(self) -> str:
        """The roster as a file that ``parse_roster`` reads."""
        levels = self.thresholds
        lines = [f"node: {self.node}", "officers:"]
        lines += [f"  - {officer.vkey(self.node)}" for officer in sorted(self.officers)]
        lines += ["thresholds:", f"  loosen: {levels.loosen}", f"  tighten: {levels.tighten}"]
        return "\n".join([*lines, f"  remove_invariant: {levels.remove_invariant}"]) + "\n"

    def message(self) -> officer_pb2.Roster:
        """The roster as the contract has it."""
        levels = self.thresholds
        return officer_pb2.Roster(
            officers=[officer_pb2.Officer(name=officer.name, key=officer.key) for officer in sorted(self.officers)],
            thresholds=officer_pb2.Thresholds(
                loosen=levels.loosen, tighten=levels.tighten, remove_invariant=levels.remove_invariant
            ),
        )

    @classmethod
    def of(cls, node: str, message: officer_pb2.Roster) -> Roster:
        """The roster of ``node`` in a message; not yet asked for its faults."""
        officers = sorted(Officer(officer.name, officer.key) for officer in message.officers)
        levels = message.thresholds
        return cls(node, tuple(officers), Thresholds(levels.loosen, levels.tighten, levels.remove_invariant))


def default_thresholds(officers: int, loosen: int = 2) -> Thresholds:
    """The thresholds of a roster that names none: two loosen, one tightens, three (or all) remove an invariant."""
    return Thresholds(loosen, 1, min(officers, max(3, loosen + 1)))


def parse_officer(vkey: str) -> tuple[str, Officer]:
    """Node and officer of a verifier key. Raises ValueError with the reason."""
    match = _VKEY.fullmatch(vkey)
    if match is None:
        raise ValueError("is not an officer's verifier key, such as signalfire/v1/JPN/officer/alice+0123abcd+Ae...")
    node, name, identifier, encoded = match.groups()
    raw = base64.b64decode(encoded, validate=True)
    if raw[:1] != _ED25519:
        raise ValueError(f"is a key of type 0x{raw[:1].hex()}; an officer's is Ed25519, type 0x01")
    officer = Officer(name, raw[1:])
    if officer.key_id(node).hex() != identifier:
        raise ValueError(f"was altered: {identifier} is not the id of this key under this name")
    return node, officer


class _Thresholds(BaseModel):
    model_config = ConfigDict(extra="forbid")
    loosen: int = 2
    tighten: int = 1
    remove_invariant: int | None = None


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    node: str
    officers: list[str]
    thresholds: _Thresholds = _Thresholds()


def parse_roster(file: str, raw: bytes) -> Roster:
    """The roster in a YAML file: ``node``, ``officers`` (their verifier keys), and ``thresholds``, each with a default.

    Raises PolicyError with every problem found; ``file`` names the file in it.
    """
    document, problems = read(file, raw, DEFAULT_LIMITS)
    if document is None or problems:
        raise PolicyError(problems)
    try:
        written = _Document.model_validate(plain(document))
    except ValidationError as error:
        raise PolicyError(
            Problem(
                file,
                line_of(document, tuple(step for step in detail["loc"])),
                f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}.",
                "A roster has node, officers (verifier keys) and thresholds (loosen, tighten, remove_invariant).",
            )
            for detail in error.errors()
        ) from error
    found: list[Problem] = []
    if _NODE.fullmatch(written.node) is None:
        found.append(Problem(file, line_of(document, ("node",)), "node is not an alpha-3 code.", "Write e.g. JPN."))
    officers = []
    for place, vkey in enumerate(written.officers):
        line = line_of(document, ("officers", place))
        try:
            node, officer = parse_officer(vkey)
        except ValueError as error:
            found.append(Problem(file, line, f"This {error}.", "Copy the line of the officer's .vkey file."))
            continue
        if node != written.node:
            found.append(Problem(file, line, f"{officer.name} is an officer of {node}.", "Name officers of the node."))
        officers.append(officer)
    levels = written.thresholds
    standard = default_thresholds(len(officers), levels.loosen)
    removal = standard.remove_invariant if levels.remove_invariant is None else levels.remove_invariant
    roster = Roster(written.node, tuple(sorted(officers)), Thresholds(levels.loosen, levels.tighten, removal))
    if not found:
        found = [Problem(file, 0, fault, "Mend the roster.") for fault in roster.faults()]
    if found:
        raise PolicyError(found)
    return roster


def _key_name(node: str, name: str) -> str:
    return f"signalfire/v1/{node}/officer/{name}"


def _twice(values: Iterable[_Value]) -> list[_Value]:
    return [value for value, count in Counter(values).items() if count > 1]
