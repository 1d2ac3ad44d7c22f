"""Signed notes are read strictly and believed only from known keys."""

from __future__ import annotations

import sys
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.cosignature import Ed25519CosignatureSigner, Ed25519CosignatureVerifier
from gateway.ledger.errors import NoteError
from gateway.ledger.note import (
    MAX_NOTE,
    Ed25519Signer,
    Ed25519Verifier,
    Note,
    SignatureLine,
    SignatureType,
    decode_base64,
    derive_key_id,
    encode_vkey,
    parse_vkey,
    require_key_name,
    sign_note,
    verify_note,
)

TEXT = "signalfire.example\nsecond line\n"
JPN = Ed25519Signer("signalfire.example/JPN", bytes(32))
KOR = Ed25519Signer("signalfire.example/KOR", bytes([1]) * 32)

# What a note may hold: any character that UTF-8 can write, but no control character but newline.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(32) if c != 10])
TEXTS = st.text(CHARACTERS, max_size=60).map(lambda text: text + "\n")


def raw(note: Note) -> str:
    return note.encode().decode()


@given(TEXTS)
def test_any_text_survives_signing_encoding_and_parsing(text: str) -> None:
    note = sign_note(text, JPN, KOR)
    assert Note.parse(note.encode()) == note
    assert Note.parse(raw(note)) == note
    assert verify_note(note, [KOR.verifier, JPN.verifier]) == [JPN.verifier, KOR.verifier]


@given(TEXTS, st.data())
def test_a_change_of_any_byte_leaves_no_note_that_verifies_with_another_text(text: str, data: st.DataObject) -> None:
    whole = bytearray(sign_note(text, JPN).encode())
    at = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    with pytest.raises(NoteError):
        verify_note(Note.parse(bytes(whole)), [JPN.verifier])


def test_the_text_ends_at_the_last_empty_line() -> None:
    note = sign_note("one\n\n\u2014 not a signature\n\ntwo\n\n", JPN)
    assert Note.parse(note.encode()).text == "one\n\n\u2014 not a signature\n\ntwo\n\n"


def test_a_note_that_only_strangers_signed_is_refused() -> None:
    with pytest.raises(NoteError, match="no known key"):
        verify_note(sign_note(TEXT, KOR), [JPN.verifier])
    with pytest.raises(NoteError, match="no known key"):
        verify_note(sign_note(TEXT, KOR), [])


def test_lines_of_unknown_keys_are_ignored_even_when_they_share_a_name_or_an_id_with_a_known_one() -> None:
    note = sign_note(TEXT, JPN)
    strangers = (
        SignatureLine("stranger", 1, b"rubbish"),
        SignatureLine(JPN.name, JPN.key_id ^ 1, b"rubbish"),
        SignatureLine(KOR.name, JPN.key_id, b"rubbish"),
    )
    assert verify_note(note.with_signatures(*strangers), [JPN.verifier, KOR.verifier]) == [JPN.verifier]
    twice = Note(TEXT, (strangers[0], strangers[0], *note.signatures))
    assert verify_note(Note.parse(twice.encode()), [JPN.verifier]) == [JPN.verifier]


def test_a_bad_signature_of_a_known_key_condemns_a_note_that_another_known_key_signed() -> None:
    bad = SignatureLine(KOR.name, KOR.key_id, KOR.sign(b"another text\n"))
    note = sign_note(TEXT, JPN).with_signatures(bad)
    with pytest.raises(NoteError, match="does not hold"):
        verify_note(note, [JPN.verifier, KOR.verifier])
    assert verify_note(note, [JPN.verifier]) == [JPN.verifier]


@pytest.mark.parametrize("length", [1, 63, 65, 72])
def test_a_known_keys_signature_of_another_length_does_not_hold(length: int) -> None:
    signature = (JPN.sign(TEXT.encode()) * 2)[:length]
    with pytest.raises(NoteError, match="does not hold"):
        verify_note(Note(TEXT, (SignatureLine(JPN.name, JPN.key_id, signature),)), [JPN.verifier])


def test_two_lines_of_one_known_key_are_refused() -> None:
    line = sign_note(TEXT, JPN).signatures[0]
    with pytest.raises(NoteError, match="two signatures"):
        verify_note(Note(TEXT, (line, line)), [JPN.verifier])


def test_a_key_cannot_sign_a_note_twice() -> None:
    with pytest.raises(NoteError, match="only once"):
        sign_note(TEXT, JPN, JPN)
    note = sign_note(TEXT, JPN)
    with pytest.raises(NoteError, match="only once"):
        note.with_signatures(*note.signatures)


def test_a_note_needs_a_signer() -> None:
    with pytest.raises(NoteError, match="0 signature lines"):
        sign_note(TEXT)


def test_two_known_keys_with_one_name_and_id_are_refused() -> None:
    twin = Ed25519Verifier(JPN.name, JPN.verifier.public_key)
    with pytest.raises(NoteError, match="both called"):
        verify_note(sign_note(TEXT, JPN), [JPN.verifier, twin])


def test_a_key_known_under_one_algorithm_never_verifies_as_another() -> None:
    seed = bytes([7]) * 32
    log, cosigner = Ed25519Signer("same/name", seed), Ed25519CosignatureSigner("same/name", seed)
    assert log.verifier.public_key == cosigner.verifier.public_key
    assert log.key_id != cosigner.key_id
    with pytest.raises(NoteError, match="no known key"):
        verify_note(sign_note(TEXT, log), [cosigner.verifier])
    # Even a forged line that carries the other algorithm's key ID does not hold.
    forged = SignatureLine(cosigner.name, cosigner.key_id, log.sign(TEXT.encode()))
    with pytest.raises(NoteError, match="does not hold"):
        verify_note(Note(TEXT, (forged,)), [cosigner.verifier])
    with pytest.raises(NoteError, match="signature type 0x01 is not 0x04"):
        Ed25519CosignatureVerifier.from_vkey(log.verifier.vkey)
    with pytest.raises(NoteError, match="signature type 0x04 is not 0x01"):
        Ed25519Verifier.from_vkey(cosigner.verifier.vkey)


def test_sixteen_signature_lines_are_read_and_seventeen_are_not() -> None:
    strangers = [SignatureLine(f"stranger/{n}", n, b"rubbish") for n in range(16)]
    note = Note(TEXT, (*sign_note(TEXT, JPN).signatures, *strangers[:15]))
    assert verify_note(Note.parse(note.encode()), [JPN.verifier]) == [JPN.verifier]
    with pytest.raises(NoteError, match="17 signature lines"):
        Note(TEXT, (*note.signatures, strangers[15]))
    with pytest.raises(NoteError, match="17 signature lines"):
        Note.parse(raw(note) + strangers[15].encode() + "\n")


def test_sixteen_post_quantum_lines_fit_and_a_longer_note_is_refused_unread() -> None:
    lines = tuple(SignatureLine(f"signalfire/v1/AA{chr(65 + n)}/pq", n, bytes(8 + 2420)) for n in range(16))
    assert len(Note.parse(Note(TEXT, lines).encode()).signatures) == 16
    with pytest.raises(NoteError, match="at most 65536"):
        Note.parse("x" * MAX_NOTE + "\n")
    with pytest.raises(NoteError, match="at most 65536"):
        Note("x" * MAX_NOTE + "\n", lines).encode()


LINE = raw(sign_note(TEXT, JPN)).split("\n\n")[1]
B64 = LINE.split(" ")[2].strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TEXT,
        LINE,
        f"{TEXT}{LINE}",
        f"{TEXT}\n",
        f"{TEXT}\n\n",
        f"{TEXT}\n{LINE}\n",
        f"{TEXT}\n{LINE[:-1]}",
        f"{TEXT}\n{LINE}trailing",
        f"{TEXT}\n{LINE}trailing\n",
        f"{TEXT}\n {LINE}",
        f"{TEXT}\n- {LINE[2:]}",
        f"{TEXT}\n\u2014{LINE[2:]}",
        f"{TEXT}\n\u2014 {JPN.name}\n",
        f"{TEXT}\n\u2014 {B64}\n",
        f"{TEXT}\n\u2014  {B64}\n",
        f"{TEXT}\n\u2014 {JPN.name}  {B64}\n",
        f"{TEXT}\n\u2014 {JPN.name} {B64} \n",
        f"{TEXT}\n\u2014 two\u00a0words {B64}\n",
        f"{TEXT}\n\u2014 two\u2003words {B64}\n",
        f"{TEXT}\n\u2014 plus+sign {B64}\n",
        f"{TEXT}\n\u2014 {JPN.name} \n",
        f"{TEXT}\n\u2014 {JPN.name} AAAAAA==\n",
        f"{TEXT}\n\u2014 {JPN.name} {B64.rstrip('=')}\n",
        f"{TEXT}\n\u2014 {JPN.name} {B64}=\n",
        f"{TEXT}\n\u2014 {JPN.name} {B64}AAAA\n",
        f"{TEXT}\n\u2014 {JPN.name} *{B64}\n",
        f"{TEXT}\n\u2014 {JPN.name} {B64.replace('+', '-').replace('/', '_')}\n",
        f"{TEXT}\r\n{LINE}",
        f"{TEXT}\t\n{LINE}",
        f"{TEXT}\x00\n{LINE}",
        f"{TEXT}\x1f\n{LINE}",
        f"{TEXT}\ud800\n{LINE}",
    ],
)
def test_a_malformed_note_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Note.parse(text)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(NoteError, match="not UTF-8 at byte 1"):
        Note.parse(b"x\xff\n\n" + LINE.encode())


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "nul\x00\n", "return\r\n"])
def test_a_text_that_no_note_can_carry_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign_note(text, JPN)


@given(st.binary(max_size=50))
def test_base64_has_one_spelling(value: bytes) -> None:
    text = b64encode(value).decode()
    assert decode_base64(text) == value
    for other in (text + "\n", " " + text, text + "=", text + "é"):
        with pytest.raises(NoteError):
            decode_base64(other)


@pytest.mark.parametrize("text", ["AB==", "AAB=", "A", "AA", "AAA", "=", "====", "AA=A", "AA-_", "AA==AA=="])
def test_base64_with_stray_bits_wrong_padding_or_another_alphabet_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        decode_base64(text)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(SignatureType))
def test_a_verifier_key_is_read_back_from_its_text(public_key: bytes, algorithm: SignatureType) -> None:
    vkey = encode_vkey("signalfire/v1/JPN/receipt", algorithm, public_key)
    assert parse_vkey(vkey, algorithm) == ("signalfire/v1/JPN/receipt", public_key)
    for other in set(SignatureType) - {algorithm}:
        with pytest.raises(NoteError, match="signature type"):
            parse_vkey(vkey, other)


NAME, ID, KEY = JPN.verifier.vkey.split("+", 2)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        NAME,
        f"{NAME}+{ID}",
        f"{NAME}+{ID}+",
        f"+{ID}+{KEY}",
        f"{NAME} +{ID}+{KEY}",
        f"other+{ID}+{KEY}",
        f"{NAME}+{ID.upper()}+{KEY}",
        f"{NAME}+0{ID}+{KEY}",
        f"{NAME}+{ID[:7]}+{KEY}",
        f"{NAME}+00000000+{KEY}",
        f"{NAME}+{ID}+{KEY}\n",
        f"{NAME}+{ID}+{KEY}=",
        f"{NAME}+{ID}+{KEY[:-4]}",
        f"PRIVATE+KEY+{NAME}+{ID}+{KEY}",
    ],
)
def test_a_malformed_verifier_key_is_refused(vkey: str) -> None:
    assert not ID.isdigit()
    with pytest.raises(NoteError):
        Ed25519Verifier.from_vkey(vkey)


def test_keys_and_seeds_of_another_length_and_bad_names_are_refused() -> None:
    for length in (0, 31, 33, 64):
        with pytest.raises(NoteError, match=f"{length} bytes"):
            Ed25519Signer("name", bytes(length))
        with pytest.raises(NoteError, match=f"{length} bytes"):
            Ed25519Verifier("name", bytes(length))
    short = encode_vkey("name", SignatureType.ED25519, bytes(31))
    with pytest.raises(NoteError, match="31 bytes"):
        Ed25519Verifier.from_vkey(short)
    for name in ("", "two words", "a+b", "line\nbreak", "nul\x00", "\ud800"):
        with pytest.raises(NoteError):
            Ed25519Signer(name, bytes(32))


def test_no_space_of_unicode_and_no_control_character_is_in_a_key_name() -> None:
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if character.isspace() or character == "+" or number < 0x20 or 0xD800 <= number < 0xE000:
            with pytest.raises(NoteError):
                require_key_name(f"a{character}b")
        else:
            require_key_name(f"a{character}b")


def test_a_key_id_depends_on_name_type_and_key() -> None:
    ids = {
        derive_key_id(name, algorithm, key)
        for name in ("a", "b")
        for algorithm in SignatureType
        for key in (bytes(32), bytes([1]) * 32)
    }
    assert len(ids) == 2 * len(SignatureType) * 2


def test_a_signer_does_not_show_its_seed() -> None:
    seed = bytes(range(32))
    shown = repr(Ed25519Signer("name", seed))
    assert seed.hex() not in shown
    assert b64encode(seed).decode() not in shown
