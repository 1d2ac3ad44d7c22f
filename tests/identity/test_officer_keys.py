"""An officer's key: his alone, and never taken for another's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.pki import pki
from gateway.identity.errors import IssueError, Refusal, SecretFileError, SpiffeIdError
from gateway.identity.officer_keys import create_officer_key, read_officer_key
from policy.approve import parse_officer


def test_a_key_is_read_as_it_was_made_and_its_line_names_the_officer(tmp_path: Path) -> None:
    made = create_officer_key(tmp_path / "keys", "JPN", "alice")
    assert read_officer_key(tmp_path / "keys" / "alice.key") == made
    node, officer = parse_officer((tmp_path / "keys" / "alice.vkey").read_text("ascii").strip())
    assert (node, officer.name) == ("JPN", "alice")


def test_a_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    create_officer_key(tmp_path / "keys", "JPN", "alice")
    path = tmp_path / "keys" / "alice.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(SecretFileError) as refused:
        read_officer_key(path)
    assert refused.value.code is Refusal.EXPOSED


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create_officer_key(tmp_path / "keys", "JPN", "alice")
    with pytest.raises(IssueError):
        create_officer_key(tmp_path / "keys", "JPN", "alice")


@pytest.mark.parametrize("line", ["", "nonsense", "signalfire/v1/JPN/root+00000000+AAAA"])
def test_a_key_without_its_line_is_refused(tmp_path: Path, line: str) -> None:
    create_officer_key(tmp_path / "keys", "JPN", "alice")
    (tmp_path / "keys" / "alice.vkey").write_text(line)
    with pytest.raises(SecretFileError):
        read_officer_key(tmp_path / "keys" / "alice.key")


def test_the_line_of_another_officer_does_not_serve(tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        create_officer_key(tmp_path / "keys", "JPN", name)
    (tmp_path / "keys" / "alice.vkey").write_bytes((tmp_path / "keys" / "bob.vkey").read_bytes())
    with pytest.raises(SecretFileError) as refused:
        read_officer_key(tmp_path / "keys" / "alice.key")
    assert refused.value.code is Refusal.MISMATCHED_PAIR


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpiffeIdError):
        create_officer_key(tmp_path / "keys", "JPN", "../alice")


def test_the_command_prints_the_line_for_the_roster(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        pki, ["officer-key", "alice", "--node", "JPN", "--out", str(tmp_path / "keys"), "--unlocked"]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "keys" / "alice.vkey").read_text().strip() in result.output


def test_the_public_half_does_not_sign_and_the_message_names_the_private_one(tmp_path: Path) -> None:
    key = create_officer_key(tmp_path, "JPN", "alice")
    assert key.name == "alice"
    with pytest.raises(SecretFileError) as caught:
        read_officer_key(tmp_path / "alice.vkey")
    assert "Give the private half, alice.key." in str(caught.value)
