"""`signalfire ledger prove`, `check-proof`, `export` and `verify --export`: what they write, say and exit with."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.demo.deployment import PUSHER
from gateway.identity.next_bundle import write_bundle
from gateway.ledger.errors import StoreError
from gateway.ledger.stores.sqlite import SqliteReader
from tests.cli.conftest import World, make
from tests.client.reports import fresh
from tests.patience import PATIENCE_S

REPORTS = [fresh(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two nations that shared some reports, and stopped. One proof was made by the running gateway."""
    world = make(tmp_path_factory.mktemp("evidence"))
    try:
        for gateway in world.gateways.values():
            gateway.start()
        asyncio.run(asyncio.wait_for(_share(world), PATIENCE_S))
        online = world.places["JPN"].directory / "online.tlog-proof"
        result = run(
            "prove", *world.options("JPN", "officer"), "--report", REPORTS[0].report_id, "--partner", "USA",
            "--out", online,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    finally:
        for gateway in world.gateways.values():
            gateway.stop()
    return world


async def _share(world: World) -> None:
    for gateway in world.gateways.values():
        await gateway.ready()
    async for result in world.places["JPN"].client(PUSHER).submit(REPORTS):
        assert result.accepted
    while True:
        status = await world.places["JPN"].officer().status()
        own = [ledger for ledger in status.ledgers if "/USA/" in ledger.origin and not ledger.replica]
        if own and all(ledger.receipt_size == ledger.size == ledger.pq_size for ledger in own):
            return
        await asyncio.sleep(0.05)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["ledger", *map(str, arguments)])


def bundle(world: World, node: str) -> list[object]:
    pki = world.places[node].directory / "pki"
    return ["--bundle", pki / "bundle.note", "--root", pki / "root.vkey"]


def partner_bundle(world: World, node: str) -> list[object]:
    pki = world.places[node].directory / "pki"
    return ["--partner-bundle", pki / "bundle.note", "--partner-root", pki / "root.vkey"]


def prove(world: World, out: Path, *options: object, node: str = "JPN", partner: str = "USA") -> Result:
    config = world.places[node].config
    report = REPORTS[1].report_id
    return run("prove", "--config", config, "--report", report, "--partner", partner, "--out", out, *options)


def test_a_proof_is_written_for_its_owner_and_checked_offline_in_plain_words(written: World, tmp_path: Path) -> None:
    out = tmp_path / "launch.tlog-proof"
    result = prove(written, out)
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    result = run("check-proof", out, *bundle(written, "JPN"), *partner_bundle(written, "USA"))
    assert result.exit_code == 0, result.output
    first, *rest = result.output.splitlines()
    assert first == f"PROVED: JPN released LaunchDetection {REPORTS[1].report_id} to USA"
    assert "signalfire/v1/JPN/USA/flash/1" in rest[0]
    assert any("USA confirmed at 20" in line for line in rest)
    assert not any(line.startswith("note:") for line in rest)


def test_as_json_the_report_is_shown(written: World, tmp_path: Path) -> None:
    out = tmp_path / "launch.tlog-proof"
    assert prove(written, out).exit_code == 0
    told = json.loads(run("check-proof", out, *bundle(written, "JPN"), "--json").stdout)
    assert (told["proved"], told["released_by"], told["released_to"]) == (True, "JPN", "USA")
    assert told["content"]["report"]["report_id"] == REPORTS[1].report_id
    assert told["receipt"] is None
    assert any("was not checked" in note for note in told["notes"])


def test_the_recipient_and_the_running_gateway_prove_it_too(written: World, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    result = prove(written, theirs, "--originator", "JPN", node="USA", partner="JPN")
    assert result.exit_code == 0, result.output
    for path in (theirs, written.places["JPN"].directory / "online.tlog-proof"):
        assert run("check-proof", path, *bundle(written, "JPN"), *partner_bundle(written, "USA")).exit_code == 0


def test_without_content_nothing_is_shown(written: World, tmp_path: Path) -> None:
    out = tmp_path / "bare"
    assert prove(written, out, "--without-content").exit_code == 0
    told = json.loads(run("check-proof", out, *bundle(written, "JPN"), "--json").stdout)
    assert told["content"] is None
    assert REPORTS[1].report_id not in out.read_text("utf-8")


def test_what_is_not_proved_is_3_and_what_cannot_be_checked_is_1(written: World, tmp_path: Path) -> None:
    out = tmp_path / "launch"
    assert prove(written, out).exit_code == 0
    altered = tmp_path / "altered"
    altered.write_text(out.read_text("utf-8").replace("\nindex ", "\nindex 1", 1), "utf-8")
    result = run("check-proof", altered, *bundle(written, "JPN"))
    assert (result.exit_code, "NOT PROVED" in result.output) == (3, True)
    assert json.loads(run("check-proof", altered, *bundle(written, "JPN"), "--json").stdout)["proved"] is False
    mixed = [*bundle(written, "JPN")[:2], *bundle(written, "USA")[2:]]
    assert run("check-proof", out, *mixed).exit_code == 1
    assert run("check-proof", out, *bundle(written, "JPN"), "--partner-root", out).exit_code == 2


def test_a_bundle_that_has_expired_proves_nothing(written: World, tmp_path: Path) -> None:
    out, folder, pki = tmp_path / "launch", tmp_path / "export", tmp_path / "pki"
    assert prove(written, out).exit_code == 0
    config = written.places["JPN"].config
    assert run("export", folder, "--config", config, "--partner", "USA").exit_code == 0
    shutil.copytree(written.places["JPN"].directory / "pki", pki)
    write_bundle(pki, now=datetime.now(UTC) - timedelta(days=3), lifetime=timedelta(days=1))
    expired = ["--bundle", pki / "bundle.note", "--root", pki / "root.vkey"]
    for result in (run("check-proof", out, *expired), run("verify", "--export", folder, *expired)):
        assert result.exit_code == 1, result.output
        assert "expired at" in result.stderr
        assert "Get a newer bundle from JPN" in result.stderr


def test_content_that_is_not_confirmed_is_asked_of_the_store_and_never_of_a_gateway(
    written: World, tmp_path: Path
) -> None:
    assert prove(written, tmp_path / "x", "--unconfirmed").exit_code == 0
    given = written.options("JPN", "officer"), "--report", REPORTS[0].report_id, "--partner", "USA"
    result = run("prove", *given[0], *given[1:], "--unconfirmed", "--out", tmp_path / "y")
    assert result.exit_code == 2
    assert "--unconfirmed goes with --config" in result.output


def test_what_was_not_released_cannot_be_proved(written: World, tmp_path: Path) -> None:
    config = written.places["JPN"].config
    result = run(
        "prove", "--config", config, "--report", fresh(77).report_id, "--partner", "USA", "--out", tmp_path / "x"
    )
    assert result.exit_code == 1
    assert "was not released to USA" in result.stderr
    assert not (tmp_path / "x").exists()
    assert run("prove", "--report", fresh(7).report_id, "--partner", "USA", "--out", tmp_path / "x").exit_code == 2


def test_an_export_is_written_once_and_verified_by_the_bundles_alone(written: World, tmp_path: Path) -> None:
    folder = tmp_path / "for-usa"
    config = written.places["JPN"].config
    result = run("export", folder, "--config", config, "--partner", "USA", "--json")
    assert result.exit_code == 0, result.output
    assert "signalfire/v1/JPN/USA/flash/1" in {each["origin"] for each in json.loads(result.stdout)["ledgers"]}
    again = run("export", folder, "--config", config)
    assert (again.exit_code, "not an empty directory" in again.stderr) == (1, True)
    result = run("verify", "--export", folder, *bundle(written, "JPN"), *bundle(written, "USA"))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "sound"
    tile = next(folder.glob("signalfire/v1/JPN/USA/flash/1/tile/0/000*/*"))
    tile.write_bytes(bytes(len(tile.read_bytes())))
    result = run("verify", "--export", folder, *bundle(written, "JPN"), *bundle(written, "USA"), "--json")
    assert result.exit_code == 3
    assert "tile 0/0" in json.loads(result.stdout)["findings"][0]["what"]


def test_verify_takes_a_store_or_a_folder_and_not_both(written: World, tmp_path: Path) -> None:
    config = written.places["JPN"].config
    assert run("verify").exit_code == 2
    assert run("verify", "--config", config, "--export", tmp_path).exit_code == 2
    assert run("verify", "--export", tmp_path).exit_code == 2
    assert run("verify", "--export", tmp_path, *bundle(written, "JPN")).exit_code == 1
    assert run("export", tmp_path / "x", "--config", config, "--ledger", "nothing").exit_code == 1


def test_a_partner_that_there_is_not_is_refused_by_name(written: World, tmp_path: Path) -> None:
    result = run("export", tmp_path / "x", "--config", written.places["JPN"].config, "--partner", "DEU")
    assert result.exit_code == 1
    assert "'DEU' is no partner of this node; name one of them: " in result.output
    assert not (tmp_path / "x").exists()


def test_a_proof_overwrites_nothing_and_says_how_it_is_checked(written: World, tmp_path: Path) -> None:
    out = tmp_path / "launch.tlog-proof"
    assert f"check-proof {out} --bundle jpn.note --root jpn-root.vkey" in prove(written, out).output
    before = out.read_bytes()
    again = prove(written, out)
    assert (again.exit_code, "is there already" in again.output, out.read_bytes()) == (1, True, before)


def test_a_check_tells_which_bundles_it_believed_and_what_it_does_not_show(written: World, tmp_path: Path) -> None:
    out = tmp_path / "launch.tlog-proof"
    assert prove(written, out).exit_code == 0
    output = run("check-proof", out, *bundle(written, "JPN"), *partner_bundle(written, "USA")).output
    for node in ("JPN", "USA"):
        assert re.search(rf"by the trust bundle \d+ of {node}, in force until 20\S+Z", output)
    assert "It does not show that the report still stands" in output


def test_an_export_has_a_manifest_that_tells_of_a_ledger_that_was_taken_out(written: World, tmp_path: Path) -> None:
    folder, pinned = tmp_path / "export", [*bundle(written, "JPN"), *bundle(written, "USA")]
    assert run("export", folder, "--config", written.places["JPN"].config, "--partner", "USA").exit_code == 0
    shutil.rmtree(folder / "signalfire/v1/JPN/USA/flash/1")
    result = run("verify", "--export", folder, *pinned)
    assert (result.exit_code, "the folder lacks it" in result.stdout.replace("\n", " ")) == (3, True)
    (folder / "manifest").unlink()
    assert "note: no manifest" in run("verify", "--export", folder, *pinned).stdout


def test_of_a_store_that_is_none_the_message_says_what_to_do(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    store.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match="not a database; restore it from a backup, or begin anew and recover"):
        SqliteReader(store)
    with pytest.raises(StoreError, match="correct the path of the store in the configuration"):
        SqliteReader(tmp_path / "none.sqlite")
