"""`signalfire pki revoke` and `show`: what was revoked is said so, and whose a certificate is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.test_keys import done, run


@pytest.fixture
def jpn(tmp_path: Path) -> Path:
    done("pki", "init", "JPN", "--dir", tmp_path / "jpn", "--unlocked")
    done("pki", "officer", "sato", "--dir", tmp_path / "jpn", "--out", tmp_path / "sato")
    return tmp_path / "jpn"


def test_a_revoked_certificate_is_not_in_force_where_the_list_lies_beside_the_authority(jpn: Path) -> None:
    leaf, ca = jpn.parent / "sato" / "officer.crt.pem", jpn / "ca" / "officer.crt.pem"
    assert "there is no revocation list beside it" in done("pki", "show", leaf, "--ca", ca)
    done("pki", "revoke", leaf, "--dir", jpn)
    shown = run("pki", "show", leaf, "--ca", ca)
    assert shown.exit_code == 1
    assert "revoked" in shown.output
    assert "in force." not in shown.output


def test_a_list_that_lies_elsewhere_is_given_with_crl(jpn: Path, tmp_path: Path) -> None:
    leaf, elsewhere = jpn.parent / "sato" / "officer.crt.pem", tmp_path / "elsewhere.crt.pem"
    done("pki", "revoke", leaf, "--dir", jpn)
    shutil.copy(jpn / "ca" / "officer.crt.pem", elsewhere)
    assert run("pki", "show", leaf, "--ca", elsewhere).exit_code == 0
    assert run("pki", "show", leaf, "--ca", elsewhere, "--crl", jpn / "ca" / "officer.crl.pem").exit_code == 1
    assert run("pki", "show", leaf, "--crl", jpn / "ca" / "officer.crl.pem").exit_code == 2


def test_revoking_twice_says_so(jpn: Path) -> None:
    leaf = jpn.parent / "sato" / "officer.crt.pem"
    assert "before" not in done("pki", "revoke", leaf, "--dir", jpn)
    assert "It was revoked before" in done("pki", "revoke", leaf, "--dir", jpn)


def test_the_certificate_of_another_nation_is_named_as_its(jpn: Path, tmp_path: Path) -> None:
    done("pki", "init", "KOR", "--dir", tmp_path / "kor", "--unlocked")
    refused = run("pki", "revoke", jpn.parent / "sato" / "officer.crt.pem", "--dir", tmp_path / "kor")
    assert refused.exit_code == 1
    assert "spiffe://jpn/officer/sato" in refused.output
    assert "KOR did not issue" in refused.output


def test_what_is_no_certificate_is_refused_in_plain_words(jpn: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    refused = run("pki", "revoke", tmp_path / "text", "--dir", jpn)
    assert refused.exit_code == 1
    assert "does not hold exactly one certificate in PEM" in refused.output
    assert "openssl" not in refused.output.lower()
