"""Claims about SPIFFE IDs: one spelling each, and one in a certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.errors import Refusal, SpiffeIdError
from gateway.identity.spiffe import Role, SpiffeId, dns_name, trust_domain_of

IDS = st.builds(
    SpiffeId,
    st.from_regex(r"[a-z]{3}", fullmatch=True),
    st.sampled_from(Role),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
)


@given(IDS)
def test_what_is_written_reads_back_as_the_same_id(spiffe_id: SpiffeId) -> None:
    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id


@given(st.text(max_size=40) | st.text(alphabet="spifejn:/gatwy.-@?#%J\n", max_size=40).map("spiffe://jpn/".__add__))
def test_whatever_parses_is_spelt_exactly_as_it_would_be_written(text: str) -> None:
    try:
        parsed = SpiffeId.parse(text)
    except SpiffeIdError:
        return
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://jpn",
        "spiffe://jpn/gateway",
        "spiffe://jpn/gateway/",
        "spiffe://jpn/gateway/a/",
        "spiffe://jpn/gateway//a",
        "spiffe://jpn/gateway/a/b",
        "spiffe://jpn/gateway/a?x=1",
        "spiffe://jpn/gateway/a#x",
        "spiffe://jpn:443/gateway/a",
        "spiffe://me@jpn/gateway/a",
        "spiffe://JPN/gateway/a",
        "SPIFFE://jpn/gateway/a",
        "spiffe://jpn/Gateway/a",
        "spiffe://jpn/gateway/A",
        "spiffe://jpn/gateway/%61",
        "spiffe://jpn/admiral/a",
        "spiffe://jp/gateway/a",
        "spiffe://japan/gateway/a",
        "spiffe://jpn/gateway/a\n",
        " spiffe://jpn/gateway/a",
        "spiffe://jpn/gateway/-a",
        "spiffe://jpn/gateway/a-",
        "spiffe://jpn/gateway/" + "a" * 64,
        "spiffe://jpn/gateway/\u0430",
        "https://jpn/gateway/a",
        "spiffe:/jpn/gateway/a",
    ],
)
def test_every_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(SpiffeIdError) as refused:
        SpiffeId.parse(text)
    assert refused.value.code is Refusal.MALFORMED_ID


def test_the_node_is_the_trust_domain_in_upper_case() -> None:
    spiffe_id = SpiffeId.parse("spiffe://jpn/c2/sensor-net")
    assert (spiffe_id.node, spiffe_id.role, spiffe_id.name) == ("JPN", Role.C2, "sensor-net")
    assert trust_domain_of(spiffe_id.node) == spiffe_id.trust_domain


def test_a_gateway_is_dialled_by_a_name_made_of_its_id() -> None:
    assert dns_name(SpiffeId.parse("spiffe://jpn/gateway/a")) == "a.gateway.jpn.signalfire.internal"


@pytest.mark.parametrize("node", ["jpn", "JP", "JAPAN", "J1N", "JPN\n", ""])
def test_a_node_is_three_upper_case_letters(node: str) -> None:
    with pytest.raises(SpiffeIdError):
        trust_domain_of(node)


def _certificate_naming(*uris: str, dns: str = "a.example") -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    names = [x509.DNSName(dns), *(x509.UniformResourceIdentifier(uri) for uri in uris)]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(key, hashes.SHA256())
    )


def test_a_certificate_with_one_uri_names_that_id() -> None:
    certificate = _certificate_naming("spiffe://jpn/gateway/a")
    assert SpiffeId.from_certificate(certificate) == SpiffeId("jpn", Role.GATEWAY, "a")


@pytest.mark.parametrize(
    "uris",
    [
        (),
        ("spiffe://jpn/gateway/a", "spiffe://jpn/gateway/a"),
        ("spiffe://jpn/gateway/a", "https://jpn.example"),
        ("https://jpn.example",),
    ],
)
def test_a_certificate_with_no_uri_or_several_or_another_names_nobody(uris: tuple[str, ...]) -> None:
    with pytest.raises(SpiffeIdError):
        SpiffeId.from_certificate(_certificate_naming(*uris))
