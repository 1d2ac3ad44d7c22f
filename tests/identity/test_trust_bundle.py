"""Claims about trust bundles: believed whole, on the word of the pinned root, in sequence and in time."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.identity.authority import RootKey, certificate_pem
from gateway.identity.errors import Refusal, TrustBundleError
from gateway.identity.peer import verify_peer
from gateway.identity.spiffe import Role
from gateway.identity.trust_bundle import Endpoint, RetiredKey, SealingKey, TrustBundle
from gateway.ledger.note import Ed25519Signer, sign_note
from tests.identity.world import World

ROOT = RootKey("JPN", b"\x01" * 32)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
EXPIRES = datetime(2027, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def bundle(world: World) -> TrustBundle:
    return TrustBundle(
        sequence=7,
        expires=EXPIRES,
        node="JPN",
        trust_domain="jpn",
        gateway_ca=(certificate_pem(world.authority("JPN").certificate).decode(),),
        log_keys=(b"l" * 32, b"L" * 32),
        receipt_keys=(b"r" * 32,),
        pq_keys=(b"q" * 1312,),
        sealing_keys=(SealingKey(mlkem768=b"m" * 1184, x25519=b"x" * 32),),
        endpoints=(Endpoint(address="gw.example.jp:7443", server_name="a.gateway.jpn.signalfire.internal"),),
        retired=(RetiredKey(kind="log", key=b"o" * 32, until=NOW),),
        gateway_crl=(),
    )


def _resigned(text: str, *, seed: bytes = ROOT.seed) -> str:
    return sign_note(text, Ed25519Signer("signalfire/v1/JPN/root", seed)).encode().decode()


def _with_body(bundle: TrustBundle, change: Callable[[dict[str, Any]], None]) -> str:
    header, body = bundle.text().split("{", 1)
    members = json.loads("{" + body)
    change(members)
    return _resigned(header + json.dumps(members, indent=2) + "\n")


def _refusal(raw: str | bytes, *, now: datetime = NOW, at_least_sequence: int = 0, vkey: str = ROOT.vkey) -> Refusal:
    with pytest.raises(TrustBundleError) as refused:
        TrustBundle.open(raw, vkey, now=now, at_least_sequence=at_least_sequence)
    assert refused.value.what
    assert refused.value.where
    assert refused.value.mend
    return refused.value.code


def test_what_the_root_signed_is_what_a_partner_opens(bundle: TrustBundle) -> None:
    assert TrustBundle.open(bundle.sign(ROOT.signer()), ROOT.vkey, now=NOW) == bundle
    assert TrustBundle.open(bundle.sign(ROOT.signer()).encode(), ROOT.vkey + "\n", now=NOW) == bundle


def test_the_text_begins_with_node_sequence_and_expiry_and_goes_on_in_json(bundle: TrustBundle) -> None:
    first, second, third, rest = bundle.text().split("\n", 3)
    assert (first, second, third) == ("signalfire/v1/JPN/bundle", "7", "2027-01-31T00:00:00Z")
    members = json.loads(rest)
    assert set(members) == {
        "node",
        "trust_domain",
        "gateway_ca",
        "log_keys",
        "receipt_keys",
        "pq_keys",
        "sealing_keys",
        "endpoints",
        "retired",
        "gateway_crl",
    }
    assert members["log_keys"][0] == base64.b64encode(b"l" * 32).decode()


def test_another_key_under_the_roots_name_is_not_the_root(bundle: TrustBundle) -> None:
    assert _refusal(_resigned(bundle.text(), seed=b"\x02" * 32)) is Refusal.BAD_SIGNATURE


@settings(max_examples=50)
@given(data=st.data())
def test_no_byte_of_a_signed_bundle_can_change(bundle: TrustBundle, data: st.DataObject) -> None:
    raw = bytearray(bundle.sign(ROOT.signer()).encode())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(TrustBundleError):
        TrustBundle.open(bytes(raw), ROOT.vkey, now=NOW)


def test_the_root_of_one_nation_cannot_speak_for_another(bundle: TrustBundle) -> None:
    korea = RootKey("KOR", b"\x03" * 32)
    raw = sign_note(bundle.text(), korea.signer()).encode()
    assert _refusal(raw, vkey=korea.vkey) is Refusal.WRONG_NODE
    with pytest.raises(TrustBundleError):
        bundle.sign(korea.signer())


def test_only_a_key_named_as_a_root_can_be_pinned(bundle: TrustBundle) -> None:
    log_key = Ed25519Signer("signalfire/v1/JPN/gateway", b"\x01" * 32)
    raw = sign_note(bundle.text(), log_key).encode()
    assert _refusal(raw, vkey=log_key.verifier.vkey) is Refusal.WRONG_NODE
    assert _refusal(raw, vkey="not a key") is Refusal.MALFORMED_BUNDLE


def test_a_bundle_is_believed_until_it_expires(bundle: TrustBundle) -> None:
    raw = bundle.sign(ROOT.signer())
    TrustBundle.open(raw, ROOT.vkey, now=EXPIRES - timedelta(seconds=1))
    assert _refusal(raw, now=EXPIRES) is Refusal.EXPIRED


def test_an_older_bundle_than_the_last_seen_is_refused(bundle: TrustBundle) -> None:
    raw = bundle.sign(ROOT.signer())
    TrustBundle.open(raw, ROOT.vkey, now=NOW, at_least_sequence=7)
    assert _refusal(raw, at_least_sequence=8) is Refusal.STALE_SEQUENCE


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda members: members.__setitem__(name, value)


def _b64(size: int, fill: bytes = b"k") -> str:
    return base64.b64encode(fill * size).decode()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_set("node", "KOR"), id="node is not the first line's"),
        pytest.param(_set("trust_domain", "kor"), id="trust domain is not the node's"),
        pytest.param(_set("extra", 1), id="unknown member"),
        pytest.param(lambda members: members.pop("pq_keys"), id="member missing"),
        pytest.param(_set("sequence", 7), id="sequence belongs in the header"),
        pytest.param(_set("expires", "2030-01-01T00:00:00Z"), id="expiry belongs in the header"),
        pytest.param(_set("log_keys", []), id="no key"),
        pytest.param(_set("log_keys", [_b64(31)]), id="key too short"),
        pytest.param(_set("log_keys", [_b64(33)]), id="key too long"),
        pytest.param(_set("log_keys", [_b64(32) + "\n"]), id="base64 with a newline"),
        pytest.param(_set("log_keys", [_b64(32)[:-2] + "t="]), id="base64 with stray bits"),
        pytest.param(_set("log_keys", [7]), id="key is a number"),
        pytest.param(_set("log_keys", _b64(32)), id="keys are not a list"),
        pytest.param(_set("log_keys", [_b64(32), _b64(32)]), id="key twice"),
        pytest.param(_set("log_keys", [_b64(32, bytes([n])) for n in range(9)]), id="too many keys"),
        pytest.param(_set("receipt_keys", [_b64(32, b"l")]), id="log key is receipt key"),
        pytest.param(_set("pq_keys", [_b64(1311)]), id="post-quantum key too short"),
        pytest.param(_set("sealing_keys", [{"mlkem768": _b64(1184)}]), id="half a sealing key"),
        pytest.param(_set("gateway_ca", ["not a certificate"]), id="authority is no certificate"),
        pytest.param(_set("endpoints", [{"address": "host", "server_name": "a"}]), id="address without port"),
        pytest.param(_set("endpoints", [{"address": "host:70000", "server_name": "a"}]), id="port too high"),
        pytest.param(_set("endpoints", [{"address": "host:1", "server_name": "A b"}]), id="no server name"),
    ],
)
def test_a_bundle_that_says_too_much_too_little_or_something_else_is_refused(
    bundle: TrustBundle, change: Callable[[dict[str, Any]], None]
) -> None:
    assert _refusal(_with_body(bundle, change)) is Refusal.MALFORMED_BUNDLE


def test_a_member_that_stands_twice_is_refused(bundle: TrustBundle) -> None:
    text = bundle.text().replace('  "node": "JPN",\n', '  "node": "KOR",\n  "node": "JPN",\n')
    assert text != bundle.text()
    assert _refusal(_resigned(text)) is Refusal.MALFORMED_BUNDLE


def test_json_of_another_node_than_the_first_line_is_refused(bundle: TrustBundle) -> None:
    def both(members: dict[str, Any]) -> None:
        members.update(node="KOR", trust_domain="kor")

    assert _refusal(_with_body(bundle, both)) is Refusal.WRONG_NODE


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (1, "07"),
        (1, "0"),
        (1, "-7"),
        (1, "7 "),
        (1, "\u0667"),
        (2, "2027-01-31T00:00:00+00:00"),
        (2, "2027-01-31 00:00:00Z"),
        (2, "2027-02-31T00:00:00Z"),
        (2, "2027-01-31T00:00:00.5Z"),
    ],
)
def test_a_header_line_has_one_spelling(bundle: TrustBundle, line: int, value: str) -> None:
    lines = bundle.text().split("\n")
    lines[line] = value
    assert _refusal(_resigned("\n".join(lines))) is Refusal.MALFORMED_BUNDLE


@pytest.mark.parametrize("body", ["", "[]", "{", "{} {}", "null", '{"node": NaN}', "[" * 5000])
def test_a_body_that_is_not_one_json_object_is_refused(bundle: TrustBundle, body: str) -> None:
    header = bundle.text().split("{", 1)[0]
    assert _refusal(_resigned(f"{header}{body}\n")) is Refusal.MALFORMED_BUNDLE


def test_a_leaf_is_not_an_authority(bundle: TrustBundle, world: World) -> None:
    with pytest.raises(ValidationError):
        TrustBundle.model_validate({**dict(bundle), "gateway_ca": (world.leaf("JPN").certificate_pem.decode(),)})


def test_a_bundle_vouches_for_the_gateways_of_its_nation_and_for_nobody_else(bundle: TrustBundle, world: World) -> None:
    authorities = bundle.authorities()
    assert set(authorities) == {("jpn", Role.GATEWAY)}
    leaf = world.leaf("JPN")
    assert verify_peer(leaf.certificate_pem, authorities, allowed_roles=list(Role), now=world.now) == leaf.spiffe_id


def test_log_keys_verify_under_the_gateways_name_the_newest_first(bundle: TrustBundle) -> None:
    verifiers = bundle.log_verifiers()
    assert [verifier.public_key for verifier in verifiers] == [b"l" * 32, b"L" * 32]
    assert {verifier.name for verifier in verifiers} == {"signalfire/v1/JPN/gateway"}
