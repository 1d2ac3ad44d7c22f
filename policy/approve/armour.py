"""Orders as a file that people pass on: text, one block an order. No I/O.

    -----BEGIN SIGNALFIRE ORDER-----
    (base64 of a serialised SignedOrder, 64 characters a line)
    -----END SIGNALFIRE ORDER-----

Read strictly: blocks, empty lines between them, and nothing else. What an order does stands in it and nowhere beside
it, so nothing can be written beside it that it does not do; ``signalfire policy show-order`` says it in words.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import officer_pb2

from policy.approve.order import SignedOrder
from policy.errors import PolicyError, Problem

_BEGIN: Final = "-----BEGIN SIGNALFIRE ORDER-----"
_END: Final = "-----END SIGNALFIRE ORDER-----"
_REMEDY: Final = "Give a file that `signalfire policy sign` wrote, unchanged."

MAX_FILE_BYTES: Final = 1 << 20
"""Bytes of a file of orders: some fifty of the largest."""


def write_orders(orders: Iterable[SignedOrder]) -> bytes:
    """The orders as a file."""
    blocks = []
    for order in orders:
        encoded = base64.b64encode(order.message().SerializeToString(deterministic=True)).decode("ascii")
        blocks.append("\n".join([_BEGIN, *textwrap.wrap(encoded, 64), _END]) + "\n")
    return "\n".join(blocks).encode("ascii")


def read_orders(file: str, raw: bytes) -> list[SignedOrder]:
    """The orders in a file, in its order; at least one. Raises PolicyError, in which ``file`` names the file."""
    if len(raw) > MAX_FILE_BYTES:
        raise _refused(file, 0, f"The file has more than {MAX_FILE_BYTES} bytes.")
    try:
        lines = raw.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise _refused(file, 0, "The file is not plain text.") from error
    found: list[SignedOrder] = []
    block: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if block is None:
            if line == _BEGIN:
                block = []
            elif line.strip():
                raise _refused(file, number, "Something stands here beside the orders.")
        elif line == _END:
            found.append(_block(file, number, "".join(block)))
            block = None
        else:
            block.append(line)
    if block is not None:
        raise _refused(file, len(lines), "The last order is cut off.")
    if not found:
        raise _refused(file, 0, "There is no order in the file.")
    return found


def _block(file: str, line: int, encoded: str) -> SignedOrder:
    try:
        message = officer_pb2.SignedOrder.FromString(base64.b64decode(encoded, validate=True))
    except (ValueError, DecodeError) as error:
        raise _refused(file, line, "The order that ends here is damaged.") from error
    return SignedOrder.of(message)


def _refused(file: str, line: int, what: str) -> PolicyError:
    return PolicyError([Problem(file, line, what, _REMEDY)])
