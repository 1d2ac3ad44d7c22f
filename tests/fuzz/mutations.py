"""Bytes near those that a parser takes: where its mistakes are."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

# What parsers look for, or trip over.
TOKENS = [
    *(bytes([byte]) for byte in (0, 1, 0x7F, 0x80, 0xFF)),
    *(
        b"\n",
        b"\n\n",
        b"\r\n",
        b" ",
        b"\t",
        b"/",
        b"+",
        b"=",
        b'"',
        b"{",
        b"[",
        b"---\n",
        b"&a ",
        b"*a",
        b"!!",
        b"\xe2\x80\x94 ",
    ),
    *(b"0", b"-1", b"1e999", b"NaN", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1_0"),
    *("\u0661\u2028\ufeff\u00a0\U0001f600\u0130".encode(), b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"),
    *(b"9" * 5000, b"[" * 3000, b"a" * 70_000),
]


@st.composite
def _edited(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 64, len(data)])))
        match draw(st.integers(0, 3)):
            case 0:
                put = draw(st.sampled_from(TOKENS))
            case 1:
                put = draw(st.binary(max_size=8))
            case 2:
                put = data[start:end] * 2
            case _:
                put = b""
        data = data[:start] + put + data[end:]
    return data


def near(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with a few edits; now and then anything at all."""
    return st.one_of(_edited(seeds), _edited(seeds), _edited(seeds), st.binary(max_size=200))
