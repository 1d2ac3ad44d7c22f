"""Statements have one spelling, and none passes for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.errors import NoteError
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Ed25519Signer, encode_base64, sign_note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.statement import MAX_HEADS, MAX_REASON, EntryStatement, EntryStatementKind, Heartbeat, Takes

SIGNER = Ed25519Signer("signalfire/v1/JPN/gateway", b"j" * 32)
OTHER = Ed25519Signer("signalfire/v1/JPN/gateway", b"o" * 32)
ORIGIN = Origin("JPN", "KOR", "flash", 1)
ROOT = b"r" * 32
ROOT_64 = encode_base64(ROOT)
NUMBERS = st.integers(0, 2**63 - 1)
HEADS = st.dictionaries(
    st.builds(lambda lane, generation: Origin("JPN", "KOR", lane.value, generation), st.sampled_from(Lane),
              st.integers(1, 2**63 - 1)),
    st.tuples(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32)),
    max_size=MAX_HEADS,
).map(lambda heads: [Checkpoint(origin, *head) for origin, head in heads.items()])  # fmt: skip
REASONS = st.text(min_size=1, max_size=MAX_REASON).filter(str.isprintable)


def open_heartbeat(raw: bytes, recipient: str = "KOR", node: str = "JPN") -> Heartbeat:
    return Heartbeat.open(raw, [SIGNER.verifier], node=node, recipient=recipient)


def signed(*lines: str) -> bytes:
    """A note by the right key over these lines."""
    return sign_note("\n".join(lines) + "\n", SIGNER).encode()


def heartbeat(
    *heads: str,
    time: str = "1",
    counter: str = "2",
    first: str = "signalfire/v1/JPN/heartbeat",
    takes: str = "takes ROUTINE",
) -> bytes:
    return signed(first, "KOR", time, counter, takes, *heads)


@given(NUMBERS, NUMBERS, HEADS, st.sampled_from(Takes))
def test_a_heartbeat_is_read_back_as_it_was_signed(
    time_ns: int, counter: int, heads: list[Checkpoint], takes: Takes
) -> None:
    sent = Heartbeat("JPN", "KOR", time_ns, counter, tuple(heads), takes)
    got = open_heartbeat(sent.sign(SIGNER))
    assert (got.time_ns, got.counter, got.takes) == (time_ns, counter, takes)
    assert sorted(map(str, got.heads)) == sorted(map(str, heads))
    assert got.text() == sent.text()


def test_a_heartbeat_of_no_ledger_and_one_of_an_empty_ledger_are_heartbeats() -> None:
    assert open_heartbeat(heartbeat()).heads == ()
    (head,) = open_heartbeat(heartbeat(f"{ORIGIN} 0 {encode_base64(EMPTY_ROOT)}")).heads
    assert head == Checkpoint(ORIGIN, 0, EMPTY_ROOT)


@pytest.mark.parametrize(
    "number", ["+5", "007", "-1", "", " 5", "5 ", "5.0", "1e3", "0x5", "\u0665", "1_0", str(2**63)]
)
def test_a_number_has_one_spelling(number: str) -> None:
    with pytest.raises(NoteError):
        open_heartbeat(heartbeat(time=number))
    with pytest.raises(NoteError):
        open_heartbeat(heartbeat(counter=number))
    with pytest.raises(NoteError):
        open_heartbeat(heartbeat(f"{ORIGIN} {number} {ROOT_64}"))
    with pytest.raises(NoteError):
        open_statement(entry_statement(index=number))


@pytest.mark.parametrize(
    "head",
    [
        "",
        "junk",
        f"{ORIGIN} 5",
        f"{ORIGIN}  5 {ROOT_64}",
        f"{ORIGIN} 5 {ROOT_64} more",
        f"{ORIGIN} 5 {ROOT_64[:-1]}",
        f"{ORIGIN} 5 {encode_base64(ROOT[:31])}",
        f"{ORIGIN} 5 {ROOT_64[:-2]}J=",
        f"{ORIGIN} 0 {ROOT_64}",
        f"signalfire/v1/JPN/KOR/flash/01 5 {ROOT_64}",
        f"signalfire/v1/JPN/KOR/slow/1 5 {ROOT_64}",
        f"signalfire/v1/KOR/JPN/flash/1 5 {ROOT_64}",
        f"signalfire/v1/JPN/USA/flash/1 5 {ROOT_64}",
        f"signalfire/v1/JPN/decisions/1 5 {ROOT_64}",
    ],
)
def test_a_head_that_is_not_one_of_these_two_nodes_in_its_one_spelling_is_refused(head: str) -> None:
    assert open_heartbeat(heartbeat(f"{ORIGIN} 5 {ROOT_64}")).heads == (Checkpoint(ORIGIN, 5, ROOT),)
    with pytest.raises(NoteError):
        open_heartbeat(heartbeat(head))


def test_heads_stand_in_order_and_no_ledger_twice() -> None:
    lines = [f"{Origin('JPN', 'KOR', lane, 1)} 5 {ROOT_64}" for lane in ("flash", "routine")]
    assert len(open_heartbeat(heartbeat(*lines)).heads) == 2
    with pytest.raises(NoteError, match="one spelling"):
        open_heartbeat(heartbeat(*reversed(lines)))
    with pytest.raises(NoteError, match="twice"):
        open_heartbeat(heartbeat(lines[0], lines[0]))
    with pytest.raises(NoteError, match="twice"):
        open_heartbeat(heartbeat(lines[0], f"{ORIGIN} 6 {ROOT_64}"))


@pytest.mark.parametrize(
    "takes",
    [
        "takes",
        "takes ",
        "takes ALL",
        "takes routine",
        "takes  FLASH",
        "takes FLASH ",
        "TAKES FLASH",
        "takes NOTHING",
        "FLASH",
    ],
)
def test_what_is_taken_is_one_of_five_words(takes: str) -> None:
    assert open_heartbeat(heartbeat(takes="takes nothing")).takes is Takes.NOTHING
    with pytest.raises(NoteError, match="what is taken"):
        open_heartbeat(heartbeat(takes=takes))


def test_the_number_of_heads_is_bounded() -> None:
    lines = sorted(f"{Origin('JPN', 'KOR', 'flash', n)} 5 {ROOT_64}" for n in range(1, MAX_HEADS + 2))
    assert len(open_heartbeat(heartbeat(*lines[:MAX_HEADS])).heads) == MAX_HEADS
    with pytest.raises(NoteError, match="at most"):
        open_heartbeat(heartbeat(*lines))


def test_a_heartbeat_is_of_one_node_for_one_recipient_by_its_key() -> None:
    raw = heartbeat()
    with pytest.raises(NoteError, match="not one of"):
        open_heartbeat(raw, recipient="USA")
    with pytest.raises(NoteError, match="not one of"):
        open_heartbeat(raw, node="KOR")
    with pytest.raises(NoteError, match="no known key"):
        Heartbeat.open(raw, [OTHER.verifier], node="JPN", recipient="KOR")
    with pytest.raises(NoteError, match="does not hold"):
        open_heartbeat(raw.replace(b"KOR\n1\n2\n", b"KOR\n1\n3\n"))
    with pytest.raises(NoteError, match="does not hold"):
        open_heartbeat(raw.replace(b"takes ROUTINE\n", b"takes nothing\n"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        signed("signalfire/v1/JPN/heartbeat"),
        signed("signalfire/v1/JPN/heartbeat", "KOR", "1"),
        heartbeat(first="signalfire/v1/JPN/Heartbeat"),
        heartbeat() + b"\n",
        signed("signalfire/v1/JPN/heartbeat", "KOR", "1", "2"),
        signed("signalfire/v1/JPN/heartbeat", "KOR", "1", "2", ""),
        signed("signalfire/v1/JPN/heartbeat", "KOR", "1", "2", "takes ROUTINE", ""),
    ],
)
def test_what_is_not_a_heartbeat_is_refused(raw: bytes) -> None:
    with pytest.raises(NoteError):
        open_heartbeat(raw)


# --- about entries


def entry_statement(
    kind: str = "unopenable", index: str = "7", leaf: str = ROOT_64, reason: str = "cannot be opened", line: str = ""
) -> bytes:
    return signed(f"signalfire/v1/JPN/{kind}", line or str(ORIGIN), index, leaf, reason)


def open_statement(raw: bytes, kind: EntryStatementKind = EntryStatementKind.UNOPENABLE) -> EntryStatement:
    return EntryStatement.open(raw, [SIGNER.verifier], kind=kind, node="JPN", origin=ORIGIN)


@given(st.sampled_from(EntryStatementKind), NUMBERS, st.binary(min_size=32, max_size=32), REASONS)
def test_a_statement_is_read_back_as_it_was_signed(
    kind: EntryStatementKind, index: int, leaf: bytes, reason: str
) -> None:
    sent = EntryStatement(kind, "JPN", ORIGIN, index, leaf, reason)
    assert open_statement(sent.sign(SIGNER), kind) == sent


@pytest.mark.parametrize("reason", ["", "x" * (MAX_REASON + 1), "two\nlines", "tab\tbed", "bell\x07", "\u2028"])
def test_a_reason_is_one_printable_line_of_bounded_length(reason: str) -> None:
    with pytest.raises(NoteError):
        EntryStatement(EntryStatementKind.ABSENT, "JPN", ORIGIN, 7, ROOT, reason).sign(SIGNER)


def test_a_reason_that_may_not_be_signed_may_not_be_read_either() -> None:
    assert open_statement(entry_statement()).reason == "cannot be opened"
    for reason in ("", "x" * (MAX_REASON + 1), "\u2028"):
        with pytest.raises(NoteError):
            open_statement(entry_statement(reason=reason))


@pytest.mark.parametrize(
    "raw",
    [
        entry_statement(kind="absent"),
        entry_statement(kind="heartbeat"),
        entry_statement(line="signalfire/v1/JPN/KOR/flash/2"),
        entry_statement(line="signalfire/v1/JPN/USA/flash/1"),
        entry_statement(leaf=ROOT_64[:-1]),
        entry_statement(leaf=encode_base64(b"short")),
        entry_statement(leaf=ROOT_64 + " "),
        entry_statement(reason="two\nlines"),
        heartbeat(),
        signed(str(ORIGIN), "7", ROOT_64),
        b"junk",
    ],
)
def test_what_is_not_the_statement_that_was_asked_for_is_refused(raw: bytes) -> None:
    with pytest.raises(NoteError):
        open_statement(raw)


def test_a_statement_of_another_node_or_key_is_refused() -> None:
    raw = entry_statement()
    with pytest.raises(NoteError, match="not one of"):
        EntryStatement.open(
            raw, [SIGNER.verifier], kind=EntryStatementKind.UNOPENABLE, node="KOR", origin=ORIGIN
        )  # fmt: skip
    with pytest.raises(NoteError, match="no known key"):
        EntryStatement.open(raw, [OTHER.verifier], kind=EntryStatementKind.UNOPENABLE, node="JPN", origin=ORIGIN)


def test_a_checkpoint_passes_for_no_statement() -> None:
    # The log key under the ledger's own name, as a checkpoint is signed: a stranger to whoever reads statements.
    raw = sign_checkpoint(Checkpoint(ORIGIN, 5, ROOT), LogKey(b"j" * 32)).encode()
    with pytest.raises(NoteError):
        open_heartbeat(raw)
    with pytest.raises(NoteError):
        open_statement(raw)
