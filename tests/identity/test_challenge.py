"""Claims about the opening challenge: each side learns who the other is, and no note serves twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.identity.challenge import (
    Challenge,
    Hello,
    ProvenServer,
    check_client,
    check_server,
    client_proof,
    server_answer,
)
from gateway.identity.errors import ChallengeError, Refusal
from gateway.identity.spiffe import SpiffeId
from gateway.ledger.note import Ed25519Signer, Note

JPN = SpiffeId.parse("spiffe://jpn/gateway/a")
KOR = SpiffeId.parse("spiffe://kor/gateway/b")
USA = SpiffeId.parse("spiffe://usa/gateway/c")
SIGNERS = {
    spiffe_id: Ed25519Signer(f"signalfire/v1/{spiffe_id.node}/gateway", bytes([number]) * 32)
    for number, spiffe_id in enumerate((JPN, KOR, USA), start=1)
}
KEYS = {spiffe_id: [signer.verifier.public_key] for spiffe_id, signer in SIGNERS.items()}
CLIENT_NONCE, SERVER_NONCE = b"c" * 32, b"s" * 32


def _hello(*, purpose: str = "follow", nonce: bytes = CLIENT_NONCE, spiffe_id: SpiffeId = JPN) -> Hello:
    return Hello(spiffe_id, nonce, purpose)


def _answer(hello: Hello, *, nonce: bytes = SERVER_NONCE, server: SpiffeId = KOR) -> Challenge:
    return server_answer(hello, tls_peer=hello.spiffe_id, server=server, nonce=nonce, signer=SIGNERS[server])


def _proof(hello: Hello, challenge: Challenge) -> bytes:
    proven = check_server(hello, challenge, expected_node="KOR", log_keys=KEYS[KOR])
    return client_proof(proven, signer=SIGNERS[JPN])


def test_two_partners_learn_who_the_other_is() -> None:
    hello = _hello()
    challenge = _answer(hello)
    proof = _proof(hello, challenge)
    assert check_client(hello, challenge, proof, tls_peer=JPN, log_keys=KEYS[JPN]) == JPN


def test_the_signed_words_are_those_of_the_protocol() -> None:
    hello = _hello()
    challenge = _answer(hello)
    both = (
        "spiffe://jpn/gateway/a\nspiffe://kor/gateway/b\n"
        "Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M=\nc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M=\n"
    )
    assert Note.parse(challenge.note).text == f"signalfire/v1/challenge\nfollow\nserver\n{both}"
    assert Note.parse(_proof(hello, challenge)).text == f"signalfire/v1/challenge\nfollow\nclient\n{both}"


NONCES = st.binary(min_size=32, max_size=32).filter(lambda nonce: nonce != SERVER_NONCE)


@given(NONCES, NONCES)
def test_an_answer_serves_the_hello_that_it_answers_and_no_other(one: bytes, other: bytes) -> None:
    assume(one != other)
    challenge = _answer(_hello(nonce=one))
    check_server(_hello(nonce=one), challenge, expected_node="KOR", log_keys=KEYS[KOR])
    with pytest.raises(ChallengeError):
        check_server(_hello(nonce=other), challenge, expected_node="KOR", log_keys=KEYS[KOR])


def test_a_proof_replayed_to_a_new_challenge_fails() -> None:
    hello = _hello()
    recorded = _proof(hello, _answer(hello))
    fresh = _answer(hello, nonce=b"t" * 32)
    with pytest.raises(ChallengeError) as refused:
        check_client(hello, fresh, recorded, tls_peer=JPN, log_keys=KEYS[JPN])
    assert refused.value.code is Refusal.REFLECTED


def test_a_note_made_for_one_purpose_does_not_serve_another() -> None:
    follow, heartbeat = _hello(purpose="follow"), _hello(purpose="heartbeat")
    with pytest.raises(ChallengeError):
        check_server(heartbeat, _answer(follow), expected_node="KOR", log_keys=KEYS[KOR])
    challenge = _answer(heartbeat)
    with pytest.raises(ChallengeError):
        check_client(heartbeat, challenge, _proof(follow, _answer(follow)), tls_peer=JPN, log_keys=KEYS[JPN])


def test_the_servers_note_sent_back_is_no_proof_of_the_client() -> None:
    hello = _hello()
    challenge = _answer(hello)
    for keys in (KEYS[JPN], KEYS[KOR], KEYS[JPN] + KEYS[KOR]):
        with pytest.raises(ChallengeError):
            check_client(hello, challenge, challenge.note, tls_peer=JPN, log_keys=keys)


def test_a_clients_own_signature_as_a_server_is_not_believed_by_it() -> None:
    """KOR's listener, in the role of client towards JPN, cannot have JPN answer its own Hello."""
    hello = _hello()
    with pytest.raises(ChallengeError) as refused:
        server_answer(hello, tls_peer=JPN, server=JPN, nonce=SERVER_NONCE, signer=SIGNERS[JPN])
    assert refused.value.code is Refusal.REFLECTED
    own = Challenge(JPN, SERVER_NONCE, _answer(_hello(spiffe_id=KOR), server=JPN).note)
    with pytest.raises(ChallengeError):
        check_server(hello, own, expected_node="KOR", log_keys=KEYS[KOR])


def test_a_third_nation_in_the_middle_gets_no_answer_to_its_victims_hello() -> None:
    with pytest.raises(ChallengeError) as refused:
        server_answer(_hello(), tls_peer=USA, server=KOR, nonce=SERVER_NONCE, signer=SIGNERS[KOR])
    assert refused.value.code is Refusal.WRONG_NODE


def test_a_third_nation_that_answers_in_its_own_name_is_not_the_one_meant() -> None:
    hello = _hello()
    challenge = _answer(hello, server=USA)
    with pytest.raises(ChallengeError) as refused:
        check_server(hello, challenge, expected_node="KOR", log_keys=KEYS[KOR])
    assert refused.value.code is Refusal.WRONG_NODE


def test_a_third_nation_cannot_sign_in_anothers_name() -> None:
    hello = _hello()
    forged = server_answer(hello, tls_peer=JPN, server=KOR, nonce=SERVER_NONCE, signer=SIGNERS[USA])
    with pytest.raises(ChallengeError) as refused:
        check_server(hello, forged, expected_node="KOR", log_keys=KEYS[KOR])
    assert refused.value.code is Refusal.BAD_SIGNATURE


def test_a_client_that_tls_proved_to_be_another_is_refused() -> None:
    hello = _hello()
    challenge = _answer(hello)
    with pytest.raises(ChallengeError) as refused:
        check_client(hello, challenge, _proof(hello, challenge), tls_peer=USA, log_keys=KEYS[USA])
    assert refused.value.code is Refusal.WRONG_NODE


def test_a_client_without_the_pinned_log_key_is_refused() -> None:
    hello = _hello()
    challenge = _answer(hello)
    stolen_certificate = client_proof(ProvenServer(hello, challenge), signer=SIGNERS[USA])
    with pytest.raises(ChallengeError) as refused:
        check_client(hello, challenge, stolen_certificate, tls_peer=JPN, log_keys=KEYS[JPN])
    assert refused.value.code is Refusal.BAD_SIGNATURE


def test_while_a_log_key_is_rotated_both_are_believed() -> None:
    hello = _hello()
    keys = [bytes(Ed25519Signer("signalfire/v1/KOR/gateway", b"\x09" * 32).verifier.public_key), *KEYS[KOR]]
    check_server(hello, _answer(hello), expected_node="KOR", log_keys=keys)


def test_no_pinned_key_means_no_belief() -> None:
    hello = _hello()
    with pytest.raises(ChallengeError):
        check_server(hello, _answer(hello), expected_node="KOR", log_keys=[])


def test_only_gateways_exchange() -> None:
    officer = SpiffeId.parse("spiffe://jpn/officer/a")
    with pytest.raises(ChallengeError) as refused:
        server_answer(_hello(spiffe_id=officer), tls_peer=officer, server=KOR, nonce=SERVER_NONCE, signer=SIGNERS[KOR])
    assert refused.value.code is Refusal.WRONG_ROLE


def test_a_server_does_not_take_the_clients_nonce_for_its_own() -> None:
    with pytest.raises(ChallengeError):
        _answer(_hello(), nonce=CLIENT_NONCE)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_nonce_has_32_bytes(size: int) -> None:
    with pytest.raises(ChallengeError):
        _hello(nonce=bytes(size))
    with pytest.raises(ChallengeError):
        Challenge(KOR, bytes(size), b"")


@pytest.mark.parametrize("purpose", ["", "Follow", "follow\nserver", "a b", "f" * 33])
def test_a_purpose_cannot_smuggle_in_a_line(purpose: str) -> None:
    with pytest.raises(ChallengeError):
        _hello(purpose=purpose)


@pytest.mark.parametrize("note", [b"", b"\n", b"\xff" * 40, b"x" * 5000])
def test_what_is_not_a_note_is_refused(note: bytes) -> None:
    hello = _hello()
    with pytest.raises(ChallengeError):
        check_server(hello, replace(_answer(hello), note=note), expected_node="KOR", log_keys=KEYS[KOR])
