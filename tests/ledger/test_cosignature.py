"""A cosignature binds cosigner, time and checkpoint, in both of its types."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.checkpoint import Checkpoint, LogKey, open_checkpoint, sign_checkpoint
from gateway.ledger.cosignature import (
    MAX_TIMESTAMP,
    CosignatureSigner,
    Ed25519CosignatureSigner,
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureSigner,
    MLDSA44CosignatureVerifier,
    cosign,
    pq_name,
    receipt_name,
    verify_cosignature,
)
from gateway.ledger.errors import CheckpointError, NoteError
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Note, SignatureLine, Verifier, sign_note, verify_note
from gateway.ledger.origin import Origin

FLASH = Origin.release("JPN", "KOR", "flash", 1)
ROOT = bytes(range(32))
TEXT = Checkpoint(FLASH, 20_852_163, ROOT).text()
NOW = 1_679_315_147

RECEIPT = Ed25519CosignatureSigner(receipt_name("KOR"), bytes([2]) * 32)
PQ = MLDSA44CosignatureSigner(pq_name("JPN"), bytes([3]) * 32)
BOTH = pytest.mark.parametrize("signer", [RECEIPT, PQ], ids=["0x04", "0x06"])


def test_a_node_cosigns_under_its_own_names() -> None:
    assert receipt_name("KOR") == "signalfire/v1/KOR/receipt"
    assert pq_name("JPN") == "signalfire/v1/JPN/pq"
    for node in ("", "kor", "KO", "KORE", "K R", "KOR\n"):
        with pytest.raises(NoteError):
            receipt_name(node)
        with pytest.raises(NoteError):
            pq_name(node)


@BOTH
def test_a_cosignature_verifies_and_tells_its_time(signer: CosignatureSigner) -> None:
    line = cosign(TEXT, signer, NOW)
    assert (line.name, line.key_id) == (signer.name, signer.key_id)
    assert verify_cosignature(TEXT, line, signer.verifier) == NOW
    assert SignatureLine.parse(line.encode()) == line


def test_the_0x04_message_is_the_header_the_time_and_the_note_body() -> None:
    line = cosign(TEXT, RECEIPT, NOW)
    assert line.signature[:8] == NOW.to_bytes(8, "big")
    assert len(line.signature) == 8 + 64
    message = (
        b"cosignature/v1\n"
        b"time 1679315147\n"
        b"signalfire/v1/JPN/KOR/flash/1\n"
        b"20852163\n"
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )
    Ed25519PublicKey.from_public_bytes(RECEIPT.verifier.public_key).verify(line.signature[8:], message)


# A `cosigned_message` written out by hand from tlog-cosignature: label, cosigner_name behind its length, timestamp,
# log_origin behind its length, start, end, hash.
COSIGNED_MESSAGE = bytes.fromhex(
    "737562747265652f76310a00"
    "14" + b"signalfire/v1/JPN/pq".hex() + "00000000641850cb"
    "1d" + b"signalfire/v1/JPN/KOR/flash/1".hex() + "0000000000000000"
    "00000000013e2dc3"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)


def test_the_0x06_message_is_a_cosigned_message_with_start_0_and_end_the_size() -> None:
    line = cosign(TEXT, PQ, NOW)
    assert line.signature[:8] == NOW.to_bytes(8, "big")
    assert len(line.signature) == 8 + 2420
    MLDSA44PublicKey.from_public_bytes(PQ.verifier.public_key).verify(line.signature[8:], COSIGNED_MESSAGE)


def test_a_0x06_signature_made_elsewhere_over_that_message_verifies_here() -> None:
    elsewhere = MLDSA44PrivateKey.from_seed_bytes(bytes([3]) * 32)
    signature = NOW.to_bytes(8, "big") + elsewhere.sign(COSIGNED_MESSAGE)
    assert verify_cosignature(TEXT, SignatureLine(PQ.name, PQ.key_id, signature), PQ.verifier) == NOW
    for wrong in (COSIGNED_MESSAGE[:-1] + b"\x00", COSIGNED_MESSAGE.replace(b"/v1\n\x00", b"/v1\n\n", 1)):
        signature = NOW.to_bytes(8, "big") + elsewhere.sign(wrong)
        with pytest.raises(NoteError, match="does not hold"):
            verify_cosignature(TEXT, SignatureLine(PQ.name, PQ.key_id, signature), PQ.verifier)


@BOTH
def test_a_cosignature_holds_for_no_other_checkpoint(signer: CosignatureSigner) -> None:
    line = cosign(TEXT, signer, NOW)
    for other in (
        Checkpoint(Origin.release("JPN", "KOR", "routine", 1), 20_852_163, ROOT),
        Checkpoint(FLASH.successor(), 20_852_163, ROOT),
        Checkpoint(Origin.decisions("JPN", 1), 20_852_163, ROOT),
        Checkpoint(FLASH, 20_852_164, ROOT),
        Checkpoint(FLASH, 20_852_163, ROOT[::-1]),
    ):
        with pytest.raises(NoteError, match="does not hold"):
            verify_cosignature(other.text(), line, signer.verifier)


@BOTH
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_in_time_or_signature_breaks_a_cosignature(
    signer: CosignatureSigner, data: st.DataObject
) -> None:
    line = cosign(TEXT, signer, NOW)
    changed = bytearray(line.signature)
    changed[data.draw(st.integers(0, 7) | st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(NoteError, match="does not hold"):
        verify_cosignature(TEXT, SignatureLine(line.name, line.key_id, bytes(changed)), signer.verifier)


@BOTH
def test_a_signature_of_another_length_does_not_hold(signer: CosignatureSigner) -> None:
    signature = cosign(TEXT, signer, NOW).signature
    for bad in (signature[:1], signature[:8], signature[8:], signature[:-1], signature + b"\x00"):
        with pytest.raises(NoteError, match="does not hold"):
            verify_cosignature(TEXT, SignatureLine(signer.name, signer.key_id, bad), signer.verifier)


@BOTH
@pytest.mark.parametrize("unix_seconds", [0, -1, MAX_TIMESTAMP + 1, 2**64])
def test_a_time_out_of_range_is_not_signed(signer: CosignatureSigner, unix_seconds: int) -> None:
    with pytest.raises(NoteError, match="time"):
        cosign(TEXT, signer, unix_seconds)


@BOTH
def test_the_first_and_last_times_are_signed(signer: CosignatureSigner) -> None:
    for unix_seconds in (1, MAX_TIMESTAMP):
        assert verify_cosignature(TEXT, cosign(TEXT, signer, unix_seconds), signer.verifier) == unix_seconds


@pytest.mark.parametrize("unix_seconds", [0, MAX_TIMESTAMP + 1])
def test_a_rightly_signed_time_out_of_range_is_not_believed(unix_seconds: int) -> None:
    stamp = unix_seconds.to_bytes(8, "big")
    message = COSIGNED_MESSAGE.replace(NOW.to_bytes(8, "big"), stamp, 1)
    signature = stamp + MLDSA44PrivateKey.from_seed_bytes(bytes([3]) * 32).sign(message)
    with pytest.raises(NoteError, match="does not hold"):
        verify_cosignature(TEXT, SignatureLine(PQ.name, PQ.key_id, signature), PQ.verifier)


@BOTH
@pytest.mark.parametrize("text", ["", "hello\n", TEXT + "extension\n", TEXT[:-1], "example.com/log\n1\n" + TEXT[-45:]])
def test_what_is_no_checkpoint_is_not_cosigned(signer: CosignatureSigner, text: str) -> None:
    with pytest.raises(CheckpointError):
        cosign(text, signer, NOW)
    with pytest.raises(NoteError, match="does not hold"):
        verify_cosignature(text, cosign(TEXT, signer, NOW), signer.verifier)


def test_a_line_of_another_cosigner_is_refused() -> None:
    line = cosign(TEXT, RECEIPT, NOW)
    for other in (
        Ed25519CosignatureSigner(receipt_name("USA"), bytes([2]) * 32),
        Ed25519CosignatureSigner(RECEIPT.name, bytes([4]) * 32),
        MLDSA44CosignatureSigner(RECEIPT.name, bytes([2]) * 32),
    ):
        with pytest.raises(NoteError, match="as expected"):
            verify_cosignature(TEXT, line, other.verifier)


def test_the_0x06_message_binds_the_cosigners_name_and_the_0x04_message_does_not() -> None:
    twin = MLDSA44CosignatureSigner(pq_name("USA"), bytes([3]) * 32)
    assert not twin.verifier.verify(TEXT.encode(), cosign(TEXT, PQ, NOW).signature)
    shared = Ed25519CosignatureSigner(receipt_name("USA"), bytes([2]) * 32)
    assert shared.verifier.verify(TEXT.encode(), cosign(TEXT, RECEIPT, NOW).signature)


def test_a_log_key_that_is_also_a_cosigner_could_have_a_log_signature_shown_as_a_receipt() -> None:
    # The reason for rule "must not be the log key": it works, if one key does both.
    shared = LogKey(bytes([2]) * 32)
    tricked = sign_note(f"cosignature/v1\ntime {NOW}\n{TEXT}", shared.signer(FLASH)).signatures[0].signature
    forged = SignatureLine(RECEIPT.name, RECEIPT.key_id, NOW.to_bytes(8, "big") + tricked)
    assert verify_cosignature(TEXT, forged, RECEIPT.verifier) == NOW
    own = LogKey(bytes([5]) * 32)
    tricked = sign_note(f"cosignature/v1\ntime {NOW}\n{TEXT}", own.signer(FLASH)).signatures[0].signature
    forged = SignatureLine(RECEIPT.name, RECEIPT.key_id, NOW.to_bytes(8, "big") + tricked)
    with pytest.raises(NoteError, match="does not hold"):
        verify_cosignature(TEXT, forged, RECEIPT.verifier)


def test_owner_receipt_and_post_quantum_lines_stand_together_on_one_checkpoint() -> None:
    log = LogKey(bytes(32))
    checkpoint = Checkpoint.parse(TEXT)
    note = sign_checkpoint(checkpoint, log).with_signatures(cosign(TEXT, RECEIPT, NOW), cosign(TEXT, PQ, NOW + 1))
    again = Note.parse(note.encode())
    assert open_checkpoint(note.encode(), [log.public], FLASH) == (checkpoint, again)
    known: list[Verifier] = [log.public.verifier(FLASH), RECEIPT.verifier, PQ.verifier]
    assert verify_note(again, known) == known
    assert sign_note(TEXT, log.signer(FLASH), RECEIPT.at(NOW)).text == note.text


def test_the_empty_ledger_can_be_cosigned() -> None:
    text = Checkpoint(FLASH, 0, EMPTY_ROOT).text()
    for signer in (RECEIPT, PQ):
        assert verify_cosignature(text, cosign(text, signer, NOW), signer.verifier) == NOW


def test_post_quantum_signatures_differ_each_time_so_that_texts_are_what_is_compared() -> None:
    assert cosign(TEXT, PQ, NOW) != cosign(TEXT, PQ, NOW)
    assert cosign(TEXT, RECEIPT, NOW) == cosign(TEXT, RECEIPT, NOW)


def test_verifier_keys_of_both_types_are_read_back_and_carry_their_type() -> None:
    assert Ed25519CosignatureVerifier.from_vkey(RECEIPT.verifier.vkey) == RECEIPT.verifier
    assert MLDSA44CosignatureVerifier.from_vkey(PQ.verifier.vkey) == PQ.verifier
    assert b64decode(RECEIPT.verifier.vkey.split("+", 2)[2])[0] == 0x04
    assert b64decode(PQ.verifier.vkey.split("+", 2)[2])[0] == 0x06
    with pytest.raises(NoteError, match="signature type 0x04 is not 0x06"):
        MLDSA44CosignatureVerifier.from_vkey(RECEIPT.verifier.vkey)
    with pytest.raises(NoteError, match="signature type 0x06 is not 0x04"):
        Ed25519CosignatureVerifier.from_vkey(PQ.verifier.vkey)


def test_keys_seeds_and_names_that_do_not_fit_are_refused() -> None:
    for length in (0, 31, 33):
        with pytest.raises(NoteError, match=f"{length} bytes"):
            Ed25519CosignatureSigner("name", bytes(length))
        with pytest.raises(NoteError, match=f"{length} bytes"):
            MLDSA44CosignatureSigner("name", bytes(length))
    for length in (0, 32, 1311, 1313):
        with pytest.raises(NoteError, match=f"{length} bytes"):
            MLDSA44CosignatureVerifier("name", bytes(length))
    assert MLDSA44CosignatureSigner("n" * 255, bytes(32)).name == "n" * 255
    with pytest.raises(NoteError, match="256 bytes"):
        MLDSA44CosignatureSigner("n" * 256, bytes(32))


def test_cosigners_do_not_show_their_seeds() -> None:
    seed = bytes(range(32))
    for shown in (repr(Ed25519CosignatureSigner("name", seed)), repr(MLDSA44CosignatureSigner("name", seed))):
        assert seed.hex() not in shown
        assert b64encode(seed).decode() not in shown
