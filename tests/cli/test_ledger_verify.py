"""`signalfire ledger verify`: a sound store, a changed one, and none."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.demo.deployment import PUSHER
from tests.cli.conftest import World, make
from tests.client.reports import fresh
from tests.patience import PATIENCE_S


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two nations that shared some reports, and stopped."""
    world = make(tmp_path_factory.mktemp("written"))
    try:
        for gateway in world.gateways.values():
            gateway.start()
        asyncio.run(asyncio.wait_for(_share(world), PATIENCE_S))
    finally:
        for gateway in world.gateways.values():
            gateway.stop()
    return world


async def _share(world: World) -> None:
    for gateway in world.gateways.values():
        await gateway.ready()
    async for result in world.places["JPN"].client(PUSHER).submit([fresh(seed) for seed in range(10)]):
        assert result.accepted
    while True:
        status = await world.places["JPN"].officer().status()
        own = [ledger for ledger in status.ledgers if "/USA/" in ledger.origin and not ledger.replica]
        if own and all(ledger.receipt_size == ledger.size == ledger.pq_size for ledger in own):
            return
        await asyncio.sleep(0.05)


def verify(config: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["ledger", "verify", "--config", str(config), *options])


def copy_of(world: World, node: str, directory: Path) -> Path:
    """The configuration of a copy of a nation's gateway."""
    shutil.copytree(world.places[node].directory, directory / node)
    return directory / node / "gateway.yaml"


@pytest.mark.parametrize("node", ["JPN", "USA"])
def test_a_sound_store_is_0_and_nothing_of_the_table_is_cut(written: World, node: str) -> None:
    result = verify(written.places[node].config)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "sound"
    assert "signalfire/v1/JPN/USA/flash/1" in result.stdout
    assert "\N{HORIZONTAL ELLIPSIS}" not in result.stdout
    told = json.loads(verify(written.places[node].config, "--json").stdout)
    assert (told["sound"], told["findings"]) == (True, [])
    (flash,) = (ledger for ledger in told["ledgers"] if ledger["origin"] == "signalfire/v1/JPN/USA/flash/1")
    assert flash["reports"] == 10
    assert flash["replica"] == (node == "USA")
    (witness,) = (ledger for ledger in told["ledgers"] if ledger["origin"] == f"signalfire/v1/{node}/witness/1")
    (signed,) = witness["cosigned"]
    assert signed["partner"] == ("USA" if node == "JPN" else "JPN")
    assert 0 < signed["size"] <= witness["size"]
    assert f"{signed['partner']} has cosigned {witness['origin']}: up to {signed['size']} of" in " ".join(
        result.stdout.split()
    )


@pytest.mark.parametrize("node", ["JPN", "USA"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE segment SET entries = zeroblob(length(entries)) WHERE ledger = (SELECT max(ledger) FROM segment)",
        "UPDATE ledger SET size = size - 1 WHERE id = 1",
        "DELETE FROM feed WHERE seq = 3",
    ],
)
def test_a_store_that_was_tampered_with_is_3_and_says_what_is_wrong(
    written: World, tmp_path: Path, node: str, change: str
) -> None:
    if node == "USA" and "feed" in change:
        change = change.replace("seq = 3", "seq = 3 AND 0") + "; UPDATE feed SET idx = idx + 1000 WHERE seq = 3"
    config = copy_of(written, node, tmp_path)
    connection = apsw.Connection(str(config.parent / "store.db"))
    connection.execute(change)
    assert connection.total_changes() > 0
    connection.close()
    result = verify(config)
    assert result.exit_code == 3, result.output
    assert "findings" in result.stdout.splitlines()[-1]
    told = json.loads(verify(config, "--json").stdout)
    assert not told["sound"]
    assert all(finding["where"] and finding["what"] for finding in told["findings"])


def test_a_store_that_is_not_there_cannot_be_checked(written: World, tmp_path: Path) -> None:
    config = copy_of(written, "JPN", tmp_path)
    (config.parent / "store.db").unlink()
    result = verify(config)
    assert result.exit_code == 1
    assert str(config.parent / "store.db") in result.stderr
    assert not (config.parent / "store.db").exists()
