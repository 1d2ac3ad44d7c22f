"""Two heartbeats name several ledgers: each about which they contradict each other is told."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from gateway.cli import main
from gateway.demo.deployment import Deployed
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.evidence import encode
from gateway.ledger.origin import Origin
from tests.exchange.origin import HostileOrigin
from tests.node.nations import settle

JUNK, TRUE, WELL = (Origin.release("JPN", "KOR", *line) for line in (("flash", 1000), ("routine", 1), ("priority", 1)))


def test_every_ledger_that_a_pair_condemns_is_named(tmp_path: Path) -> None:
    """The one that matters may stand after another that never was."""
    place = settle(tmp_path, "JPN", "KOR")["JPN"]
    jpn = HostileOrigin(place, "KOR")
    sizes = ((9, 9, 9), (3, 4, 10))
    heads = [[Checkpoint(*head, bytes(32)) for head in zip((JUNK, TRUE, WELL), each, strict=True)] for each in sizes]
    one, other = (jpn.pulse(counter, *each).note for counter, each in enumerate(heads))
    file = tmp_path / "fork.json"
    file.write_bytes(encode(one, other))
    check = ["ledger", "check-evidence", str(file), *trust(place)]
    told = CliRunner().invoke(main, check)
    assert told.exit_code == 0, told.output
    assert told.output.splitlines() == [
        f"PROVED: JPN contradicted itself. {JUNK}: shrank from 9 entries to 3",
        f"  and also {TRUE}: shrank from 9 entries to 4",
    ]
    as_json = json.loads(CliRunner().invoke(main, [*check, "--json"]).output)
    assert (as_json["proved"], as_json["ledger"]) == (True, str(JUNK))
    assert [each["ledger"] for each in as_json["others"]] == [str(TRUE)]


def trust(place: Deployed) -> list[str]:
    """The options that name a nation's trust bundle and root."""
    pki = place.directory / "pki"
    return ["--bundle", str(pki / "bundle.note"), "--root", str(pki / "root.vkey")]
