"""Makes tests/vectors/cells.json: `python -m tests.exchange.cell_vectors > tests/vectors/cells.json`."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from gateway.exchange.tunnels.cells import MAX_DATA, ROOM, CellSealer, Frame, Kind
from gateway.seal.tunnel import Ends, cell_keys


def main() -> None:
    """Writes them to standard output."""
    ends, secret, nonce = Ends("JPN", "KOR", "USA"), bytes(range(32)), bytes(range(32, 64))
    keys = cell_keys(ends, secret, nonce)
    sealer = CellSealer(keys.out)
    contents: tuple[list[Frame], ...] = (
        [Frame(Kind.OPEN, 1), Frame(Kind.DATA, 1, b"first"), Frame(Kind.DATA, 0, b"beat")],
        [],
        [Frame(Kind.DATA, 4, bytes(place % 251 for place in range(MAX_DATA)))],
        [Frame(Kind.CLOSE, 1)],
    )
    cells = [
        {
            "frames": [
                {"kind": frame.kind.name, "channel": frame.channel, "data": frame.data.hex()} for frame in frames
            ],
            "cell": sealer.seal(frames).hex(),
        }
        for frames in contents
    ]

    def sealed(plain: str, number: int = 0, key: bytes = keys.out) -> str:
        nonce = bytes(4) + number.to_bytes(8)
        return AESGCMSIV(key).encrypt(nonce, bytes.fromhex(plain).ljust(ROOM, b"\x00"), None).hex()

    good = sealed("0201000178")
    refused = {
        "altered": good[:-2] + ("00" if good[-2:] != "00" else "01"),
        "a later cell in its place": sealed("", 1),
        "of the other direction": sealed("", 0, keys.back),
        "one byte short": good[:-2],
        "an unknown kind": sealed("04010000"),
        "an unknown channel": sealed("01060000"),
        "data without bytes": sealed("02010000"),
        "an opening with bytes": sealed("0101000178"),
        "data beyond the end": sealed("020107f0"),
        "something after the last frame": sealed("0201000178000001"),
    }
    made = {
        "from": ends.opener,
        "to": ends.to,
        "carrier": ends.carrier,
        "secret": secret.hex(),
        "nonce": nonce.hex(),
        "key_out": keys.out.hex(),
        "key_back": keys.back.hex(),
        "cells": cells,
        "refused": refused,
    }
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
