"""A checkpoint has one text, is believed only from its ledger's owner, and only for that ledger."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.checkpoint import Checkpoint, LogKey, LogPublicKey, open_checkpoint, sign_checkpoint
from gateway.ledger.errors import CheckpointError, NoteError
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import SignatureLine, sign_note
from gateway.ledger.origin import Origin

FLASH = Origin.release("JPN", "KOR", "flash", 1)
ROUTINE = Origin.release("JPN", "KOR", "routine", 1)
ROOT = bytes(range(32))
B64 = b64encode(ROOT).decode()
KEY = LogKey(bytes(32))
NEXT_KEY = LogKey(bytes([1]) * 32)
CHECKPOINT = Checkpoint(FLASH, 5, ROOT)


@given(st.integers(min_value=1, max_value=2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_is_read_back_from_its_text(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(FLASH, size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


def test_the_text_is_origin_size_and_root_a_line_each() -> None:
    assert CHECKPOINT.text() == f"signalfire/v1/JPN/KOR/flash/1\n5\n{B64}\n"
    assert Checkpoint.parse(f"{FLASH}\n0\n{b64encode(EMPTY_ROOT).decode()}\n").size == 0


@pytest.mark.parametrize(
    "size", ["+5", "-5", "007", "00", "1_000", "1,000", "5.0", "5e0", "0x5", " 5", "5 ", "", "five", "\u0665"]
)
def test_a_size_that_is_not_plain_decimal_is_refused(size: str) -> None:
    with pytest.raises(CheckpointError, match="size"):
        Checkpoint.parse(f"{FLASH}\n{size}\n{B64}\n")


def test_the_largest_size_is_2_to_the_63_less_one() -> None:
    assert Checkpoint.parse(f"{FLASH}\n{2**63 - 1}\n{B64}\n").size == 2**63 - 1
    for size in (2**63, 2**64, 10**19, 10**30):
        with pytest.raises(CheckpointError, match="size"):
            Checkpoint.parse(f"{FLASH}\n{size}\n{B64}\n")


@pytest.mark.parametrize(
    "root",
    [
        "",
        "junk",
        B64[:-1],
        B64 + "=",
        B64.rstrip("="),
        " " + B64,
        "*" + B64,
        B64[:-2] + "9=",
        b64encode(ROOT[:31]).decode(),
        b64encode(ROOT + b"\x00").decode(),
    ],
)
def test_a_root_that_is_not_32_bytes_in_canonical_base64_is_refused(root: str) -> None:
    with pytest.raises(CheckpointError, match="root"):
        Checkpoint.parse(f"{FLASH}\n5\n{root}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{FLASH}\n5\n",
        f"{FLASH}\n5\n{B64}",
        f"{FLASH}\n5\n{B64}\n\n",
        f"{FLASH}\n5\n{B64}\nextension\n",
        f"{FLASH}\n5\n{B64}\nextension",
        f"\n{FLASH}\n5\n{B64}\n",
        f"{FLASH}\r\n5\n{B64}\n",
        f"{FLASH} \n5\n{B64}\n",
        f"example.com/log\n5\n{B64}\n",
        f"\n5\n{B64}\n",
    ],
)
def test_a_body_that_is_not_exactly_three_lines_of_a_known_ledger_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(text)


def test_size_0_goes_with_the_empty_root_alone() -> None:
    assert Checkpoint(FLASH, 0, EMPTY_ROOT).size == 0
    with pytest.raises(CheckpointError, match="empty tree"):
        Checkpoint(FLASH, 0, ROOT)


def test_a_signed_checkpoint_opens_for_its_ledger_with_its_key() -> None:
    note = sign_checkpoint(CHECKPOINT, KEY)
    assert open_checkpoint(note.encode(), [KEY.public], FLASH) == (CHECKPOINT, note)
    assert [line.name for line in note.signatures] == [str(FLASH)]


def test_while_keys_rotate_either_key_opens_a_checkpoint() -> None:
    keys = [KEY.public, NEXT_KEY.public, KEY.public]
    for key in (KEY, NEXT_KEY):
        assert open_checkpoint(sign_checkpoint(CHECKPOINT, key).encode(), keys, FLASH)[0] == CHECKPOINT


def test_a_checkpoint_signed_by_another_key_is_refused() -> None:
    raw = sign_checkpoint(CHECKPOINT, NEXT_KEY).encode()
    with pytest.raises(NoteError, match="no known key"):
        open_checkpoint(raw, [KEY.public], FLASH)
    with pytest.raises(NoteError, match="no known key"):
        open_checkpoint(raw, [], FLASH)


def test_one_key_has_another_id_on_each_ledger_and_signs_for_that_ledger_alone() -> None:
    assert KEY.signer(FLASH).key_id != KEY.signer(ROUTINE).key_id
    assert KEY.signer(FLASH).verifier == KEY.public.verifier(FLASH)
    raw = sign_checkpoint(CHECKPOINT, KEY).encode()
    for other in (ROUTINE, FLASH.successor(), Origin.release("JPN", "USA", "flash", 1), Origin.witness("JPN", 1)):
        with pytest.raises(NoteError, match="no known key"):
            open_checkpoint(raw, [KEY.public], other)


def test_a_ledgers_key_name_on_another_ledgers_checkpoint_is_refused() -> None:
    misnamed = sign_note(CHECKPOINT.text(), KEY.signer(ROUTINE))
    with pytest.raises(CheckpointError, match="where signalfire/v1/JPN/KOR/routine/1 was expected"):
        open_checkpoint(misnamed.encode(), [KEY.public], ROUTINE)


def test_a_note_that_is_no_checkpoint_is_refused_though_signed() -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(sign_note("hello\n", KEY.signer(FLASH)).encode(), [KEY.public], FLASH)


def test_a_text_altered_after_signing_is_refused() -> None:
    raw = sign_checkpoint(CHECKPOINT, KEY).encode().replace(b"\n5\n", b"\n6\n")
    with pytest.raises(NoteError, match="does not hold"):
        open_checkpoint(raw, [KEY.public], FLASH)


def test_lines_of_others_stay_on_the_note() -> None:
    line = SignatureLine("signalfire/v1/KOR/receipt", 9, b"not verified here")
    note = sign_checkpoint(CHECKPOINT, KEY).with_signatures(line)
    assert open_checkpoint(note.encode(), [KEY.public], FLASH)[1].signatures[1] == line


def test_signers_are_made_once_for_each_ledger() -> None:
    assert KEY.signer(FLASH) is KEY.signer(Origin.parse(str(FLASH)))


def test_a_log_key_does_not_show_its_seed_and_refuses_another_length() -> None:
    seed = bytes(range(32))
    assert seed.hex() not in repr(LogKey(seed))
    with pytest.raises(NoteError, match="31 bytes"):
        LogKey(seed[:31])
    with pytest.raises(NoteError, match="33 bytes"):
        LogPublicKey(seed + b"\x00")
