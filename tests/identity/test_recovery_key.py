"""The recovery key: made with the nation, offline; gateways hold its public half alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.identity import issuing, nation
from gateway.identity.errors import IssueError, SecretFileError
from gateway.identity.keyring import HeldKey, KeyKind
from gateway.identity.locked import KeyLock
from gateway.identity.recovery_key import (
    RECOVERY_PUBLIC,
    load_recovery_key,
    load_recovery_public,
    make_recovery_key,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def jpn(tmp_path: Path) -> Path:
    directory = tmp_path / "jpn"
    nation.create_nation(directory, "JPN", now=NOW)
    return directory


def test_a_gateway_is_given_the_public_half_and_never_the_key(jpn: Path, tmp_path: Path) -> None:
    issuing.issue_gateway(jpn, "a", tmp_path / "a", now=NOW, address="127.0.0.1:7443")
    public = load_recovery_public(tmp_path / "a", "JPN")
    assert public == HeldKey.of(KeyKind.SEALING, load_recovery_key(jpn / "recovery.key")).public
    assert not (tmp_path / "a" / "recovery.key").exists()


def test_a_nation_without_one_issues_gateways_without_it_and_may_make_one_later(jpn: Path, tmp_path: Path) -> None:
    (jpn / "recovery.key").unlink()
    (jpn / RECOVERY_PUBLIC).unlink()
    issuing.issue_gateway(jpn, "a", tmp_path / "a", now=NOW, address="127.0.0.1:7443")
    assert load_recovery_public(tmp_path / "a", "JPN") is None
    assert make_recovery_key(jpn, "JPN", KeyLock(jpn)) == load_recovery_public(jpn, "JPN")


def test_a_recovery_key_is_not_overwritten(jpn: Path) -> None:
    before = (jpn / "recovery.key").read_bytes()
    with pytest.raises(IssueError, match=r"move recovery\.key"):
        make_recovery_key(jpn, "JPN", KeyLock(jpn))
    assert (jpn / "recovery.key").read_bytes() == before


@pytest.mark.parametrize("spoil", ["other node", "cut", "another id", "no key", "empty"])
def test_a_public_half_that_is_not_what_it_should_be_is_refused(jpn: Path, spoil: str) -> None:
    raw = (jpn / RECOVERY_PUBLIC).read_bytes()
    name, key_id, key = raw.decode().strip().split("+", 2)
    spoilt = {
        "other node": raw,
        "cut": raw[:-9] + b"\n",
        "another id": f"{name}+{key_id[::-1]}+{key}\n".encode(),
        "no key": f"{name}+{key_id}+AAAA\n".encode(),
        "empty": b"",
    }
    (jpn / RECOVERY_PUBLIC).write_bytes(spoilt[spoil])
    with pytest.raises(SecretFileError, match="no recovery key"):
        load_recovery_public(jpn, "KOR" if spoil == "other node" else "JPN")
