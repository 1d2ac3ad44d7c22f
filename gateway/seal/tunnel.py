"""Keys of a tunnel: drawn by the end that opens it, wrapped by HPKE (RFC 9180) for the end to which it leads.

Suite and layout of the wrap are those of an epoch's (`gateway.seal.wrap`): what is wrapped is a secret of 32 random
bytes, and `info` is:

==========  =====  ====================================================================
field       bytes  what
==========  =====  ====================================================================
label       21     "signalfire/v1/tunnel", then 0x00
from        3      node that opens the tunnel: ISO 3166-1 alpha-3, upper-case ASCII
to          3      node to which it leads
carrier     3      node that carries it
key id      16     which of the sealing keys of `to` (`gateway.seal.keys`)
==========  =====  ====================================================================

The two keys of the cells, 32 bytes each, are HKDF-SHA256 (RFC 5869) of that secret, with the nonce of `Carried` as salt
and as info: "signalfire/v1/cells", 0x00, from, to, carrier, and "out" (from the end that opened) or "back".

Rules:

1. A wrap is for the node that is named, for a key that it holds, and of the size of an epoch's.
2. Both ends draw: a tunnel that a carrier opens again with a wrap that it has seen has other keys. So no (key, nonce)
   pair occurs twice, and no cell of one tunnel means anything in another.
3. HPKE in base mode says nothing about who wrapped. Nothing is believed for coming through a tunnel: what goes through
   it proves itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from signalfire.v1.ledger_pb2 import KeyWrap

from gateway.seal.errors import WrapError
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from gateway.seal.randomness import Random, draw
from gateway.seal.wrap import HPKE, WRAP_SIZE

SECRET_SIZE: Final = 32
"""Bytes of a tunnel's secret."""

NONCE_SIZE: Final = 32
"""Bytes that the end draws to which the tunnel leads."""

_WRAP_LABEL: Final = b"signalfire/v1/tunnel\x00"
_CELL_LABEL: Final = b"signalfire/v1/cells\x00"


@dataclass(frozen=True, slots=True)
class Ends:
    """Between whom a tunnel leads, and by whom: ISO 3166-1 alpha-3 codes of three different nodes."""

    opener: str
    to: str
    carrier: str

    def encode(self) -> bytes:
        """The three codes, joined."""
        return f"{self.opener}{self.to}{self.carrier}".encode("ascii")

    def __str__(self) -> str:
        return f"{self.opener} to {self.to} via {self.carrier}"


@dataclass(frozen=True, slots=True)
class CellKeys:
    """The keys of one tunnel's cells: from the end that opened it, and back."""

    out: bytes = field(repr=False)
    back: bytes = field(repr=False)


def tunnel_info(ends: Ends, key_id: bytes) -> bytes:
    """HPKE's `info` of a tunnel's wrap."""
    return _WRAP_LABEL + ends.encode() + key_id


def wrap_secret(ends: Ends, key: SealingPublicKey, random: Random = os.urandom) -> tuple[bytes, KeyWrap]:
    """A fresh secret, and its wrap for the end to which the tunnel leads, whose key this is."""
    secret = draw(random, SECRET_SIZE)
    ciphertext = HPKE.encrypt(secret, key.hybrid, tunnel_info(ends, key.key_id))
    return secret, KeyWrap(node=ends.to, key_id=key.key_id, ciphertext=ciphertext)


def unwrap_secret(ends: Ends, wrap: KeyWrap, private_keys: Sequence[SealingPrivateKey]) -> bytes:
    """The secret of a tunnel to this node, by whichever of its keys it is wrapped for. Raises WrapError."""
    held = {key.key_id: key for key in private_keys}
    key = held.get(wrap.key_id)
    if wrap.node != ends.to or key is None or len(wrap.ciphertext) != WRAP_SIZE:
        raise WrapError(
            f"the key of the tunnel from {ends} is not wrapped for a sealing key that {ends.to} holds here;"
            f" {ends.opener} needs its present trust bundle"
        )
    try:
        secret = HPKE.decrypt(wrap.ciphertext, key.hybrid, tunnel_info(ends, wrap.key_id))
    except InvalidTag as error:
        raise WrapError(
            f"the key of the tunnel from {ends} does not open: it was made for other ends, or altered on its way"
        ) from error
    if len(secret) != SECRET_SIZE:
        raise WrapError(f"the secret of the tunnel from {ends} has {len(secret)} bytes, and {SECRET_SIZE} are needed")
    return secret


def cell_keys(ends: Ends, secret: bytes, nonce: bytes) -> CellKeys:
    """The keys of a tunnel's cells. `nonce` is that of `Carried`. Raises WrapError for one that is none."""
    if len(nonce) != NONCE_SIZE:
        raise WrapError(f"the nonce of the tunnel from {ends} has {len(nonce)} bytes, and {NONCE_SIZE} are needed")

    def derived(direction: bytes) -> bytes:
        info = _CELL_LABEL + ends.encode() + direction
        return HKDF(algorithm=hashes.SHA256(), length=SECRET_SIZE, salt=nonce, info=info).derive(secret)

    return CellKeys(derived(b"out"), derived(b"back"))
