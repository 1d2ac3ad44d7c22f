"""`signalfire policy sign` refuses what a gateway would, and what the policy's own cases are against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.identity.officer_keys import create_officer_key, read_officer_key
from policy.approve import Activate, Order, SignedOrder, Suspend, encode, sign, write_orders

OFFICERS = ("alice", "bob", "carol")
NOWHERE = "127.0.0.1:1"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a policy of Japan, its roster, and the keys of its officers; the one to work in."""
    monkeypatch.chdir(tmp_path)
    assert run("init", "jpn", "--node", "JPN", "--partner", "KOR").exit_code == 0
    keys = [create_officer_key(tmp_path / name, "JPN", name) for name in OFFICERS]
    listed = "".join(f"  - {key.vkey}\n" for key in keys)
    (tmp_path / "roster.yaml").write_text(f"node: JPN\nofficers:\n{listed}", "utf-8")
    return tmp_path


def key_of(here: Path, name: str) -> Path:
    (found,) = (here / name).glob("*.key")
    return found


def first(here: Path, *arguments: str | Path) -> Result:
    return run("sign", *arguments, "--first", "roster.yaml", "--key", key_of(here, "alice"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def written(here: Path, name: str, action: Activate | Suspend, *, age: timedelta = timedelta()) -> Path:
    """An order that Alice signed, good for an hour from when it was written."""
    issued = datetime.now(UTC) - age
    key = read_officer_key(key_of(here, "alice"))
    signed = SignedOrder(encode(Order("JPN", 1, b"\0" * 32, issued, issued + timedelta(hours=1), action)))
    (here / name).write_bytes(write_orders([sign(signed, key.name, key.node, key.seed)]))
    return here / name


def test_a_policy_whose_cases_fail_is_not_signed_unless_the_officer_says_so(here: Path) -> None:
    change(here / "jpn/cases/warning.yaml", "2034-01-01", "2033-01-01")
    refused = first(here, "jpn")
    assert refused.exit_code == 1
    assert "fails jpn/cases/warning.yaml:" in refused.stderr
    assert "--although-cases-fail" in refused.stderr
    assert not (here / "jpn-1.order").exists()
    assert first(here, "jpn", "--although-cases-fail").exit_code == 0
    second = run("sign", "jpn", "--order", "jpn-1.order", "--key", key_of(here, "bob"))
    assert (second.exit_code, "its cases fail" in second.stderr) == (1, True)


def test_a_policy_with_an_invariant_that_does_not_hold_is_not_signed(here: Path) -> None:
    change(here / "jpn/partners/KOR.yaml", "fields: [warning]", "fields: [warning, source@1]")
    refused = first(here, "jpn", "--although-cases-fail")
    assert refused.exit_code == 1
    assert '"who-saw-it-stays-at-home" is refuted for KOR' in refused.stderr
    assert not (here / "jpn-1.order").exists()


def test_an_order_that_is_there_already_is_not_overwritten(here: Path) -> None:
    order = written(here, "jpn-1.order", Suspend("KOR", "Leak"))
    before = order.read_bytes()
    for arguments in ((), ("--out", order)):
        refused = first(here, "--resume", "KOR", *arguments)
        assert (refused.exit_code, "is there already" in refused.stderr) == (1, True)
    other = written(here, "other.order", Suspend("KOR", "Leak"))
    refused = run("sign", "--order", other, "--out", order, "--key", key_of(here, "bob"))
    assert (refused.exit_code, "is there already" in refused.stderr) == (1, True)
    assert order.read_bytes() == before


def test_a_posture_that_is_over_and_an_order_that_is_stale_are_not_signed(here: Path) -> None:
    over = first(here, "--posture", "IMMINENT", "--until", "2026-01-01T00:00:00Z")
    assert (over.exit_code, "would be over already" in over.stderr) == (1, True)
    stale = written(here, "stale.order", Suspend("KOR", "Leak"), age=timedelta(days=1))
    refused = run("sign", "--order", stale, "--key", key_of(here, "bob"))
    assert (refused.exit_code, "the order is stale since" in refused.stderr) == (1, True)


def test_a_policy_that_was_edited_is_not_countersigned_and_both_digests_are_told(here: Path) -> None:
    order = written(here, "e.order", Activate(b"\xab" * 32))
    refused = run("sign", "jpn", "--order", order, "--key", key_of(here, "bob"))
    assert refused.exit_code == 1
    assert "ab" * 32 in refused.stderr
    assert "Get the directory as it was signed" in refused.stderr


def test_signatures_that_cannot_be_counted_are_told_as_such(here: Path) -> None:
    order = written(here, "e.order", Suspend("KOR", "Leak"))
    assert "How many are missing cannot be told without the roster." in run("show-order", order).stdout


def test_who_adds_a_signature_without_a_roster_is_told_by_which_options_they_are_counted(here: Path) -> None:
    order = written(here, "e.order", Suspend("KOR", "Leak"))
    added = run("sign", "--order", order, "--key", key_of(here, "bob"))
    assert "Give --gateway with --credentials (or --first ROSTER, --after STATUS) to have them counted." in added.stdout
    counted = run("sign", "--order", order, "--key", key_of(here, "carol"), "--first", "roster.yaml")
    assert "have them counted" not in counted.stdout


@pytest.mark.parametrize(("code", "remedy"), [("kor", "write KOR."), ("KR", "use the ISO 3166-1 alpha-3 code")])
def test_a_code_in_small_letters_is_told_how_it_is_written(here: Path, code: str, remedy: str) -> None:
    connecting = ("--credentials", here, "--gateway", NOWHERE)
    suspended = run("suspend", code, "--reason", "Leak", "--key", key_of(here, "alice"), *connecting)
    for refused in (suspended, first(here, "--resume", code)):
        assert (refused.exit_code, remedy in refused.stderr) == (2, True), refused.output


def test_an_order_is_not_sent_with_the_command_or_the_files_of_another(here: Path) -> None:
    connecting = ("--credentials", here, "--gateway", NOWHERE)
    activating = written(here, "a.order", Activate(b"\xab" * 32))
    suspending = written(here, "s.order", Suspend("KOR", "Leak"))
    for arguments, said in (
        (("enact", activating), f"use `signalfire policy activate DIR {activating}`"),
        (("activate", "jpn", suspending), f"use `signalfire policy enact {suspending}`"),
        (("activate", "jpn", activating), "Bring the directory as it was signed"),
    ):
        refused = run(*arguments, *connecting)
        assert (refused.exit_code, said in refused.stderr) == (1, True), refused.output
