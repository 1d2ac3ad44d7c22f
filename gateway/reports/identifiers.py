"""Identifiers of reports: a UUID (RFC 9562) as a text of 36 characters in messages, and as 16 bytes in the store."""

from __future__ import annotations


def in_bytes(report_id: str) -> bytes:
    """The 16 bytes of an identifier that was validated (`gateway.reports.validate`).

    `uuid.UUID` would examine the text once more. Raises ValueError for anything but 32 hexadecimal digits and hyphens.
    """
    found = bytes.fromhex(report_id.replace("-", ""))
    if len(found) != 16:
        raise ValueError(f"an identifier of {len(found)} bytes is none of a report")
    return found
