"""An identifier as the store has it."""

from __future__ import annotations

import uuid

import pytest

from gateway.reports.identifiers import in_bytes


def test_it_is_the_same_as_the_uuid_has() -> None:
    for number in (0, 1, 2**128 - 1, 0x0190A5B2_0000_7000_8000_000000000001):
        each = uuid.UUID(int=number)
        assert in_bytes(str(each)) == each.bytes


@pytest.mark.parametrize("text", ["", "0190a5b2", "0190a5b2-0000-7000-8000-00000000000", "x" * 36, "00" * 17])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hexadecimal|identifier of"):
        in_bytes(text)
