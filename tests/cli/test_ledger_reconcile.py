"""`signalfire ledger reconcile`: live through one's own gateway, and of two exported folders."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.demo.deployment import Deployed
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.evidence import decode
from gateway.ledger.merkle import Frontier, leaf_hash
from gateway.ledger.note import Note
from tests.exchange.dialler import signatory
from tests.node.nations import running, settle

FLASH = "signalfire/v1/JPN/KOR/flash/1"


@dataclass(frozen=True, slots=True)
class Shared:
    """Two nations that shared reports, what the command said while they ran, and what they then exported."""

    places: dict[str, Deployed]
    live: Result
    absent: Result
    top: Path

    def folders(self, **changed: Path) -> list[str]:
        """The options that compare the two exports."""
        options = []
        for side, node in (("our", "JPN"), ("their", "KOR")):
            pki = self.places[node].directory / "pki"
            folder = changed.get(node, self.top / node)
            options += ["--ours" if side == "our" else "--theirs", str(folder)]
            options += [f"--{side}-bundle", str(pki / "bundle.note"), f"--{side}-root", str(pki / "root.vkey")]
        return options


def run(options: Sequence[str]) -> Result:
    return CliRunner().invoke(main, ["ledger", "reconcile", *options])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    directory = Path(tmp_path_factory.mktemp("shared"))
    places = settle(directory, "JPN", "KOR")
    place = places["JPN"]
    options = ["--credentials", str(place.directory / "officer"), "--gateway", place.national, "--partner", "KOR"]

    async def share() -> tuple[Result, Result]:
        async with running(places) as world:
            await world.carries("JPN", "KOR")
            await world.carries("KOR", "JPN")
            live = await asyncio.to_thread(run, [*options, "--json"])
            await world.stop("KOR")
            return live, await asyncio.to_thread(run, options)

    live, absent = asyncio.run(share())
    (directory / "exports").mkdir()
    for node, each in places.items():
        made = CliRunner().invoke(
            main,
            ["ledger", "export", "--config", str(each.config), "--unconfirmed", str(directory / "exports" / node)],
        )
        assert made.exit_code == 0, made.output
    return Shared(places, live, absent, directory / "exports")


def test_live_every_ledger_is_compared_and_nothing_parts(shared: Shared) -> None:
    assert shared.live.exit_code == 0, shared.live.output
    ledgers = {each["ledger"]: each for each in json.loads(shared.live.output)["ledgers"]}
    assert {FLASH, "signalfire/v1/KOR/JPN/flash/1"} <= set(ledgers)
    assert ledgers[FLASH]["agreed_size"] == ledgers[FLASH]["size"] == ledgers[FLASH]["partner_size"] > 0
    assert not any(each["finding"] for each in ledgers.values())


def test_a_partner_that_does_not_answer_is_1_and_words(shared: Shared) -> None:
    assert shared.absent.exit_code == 1
    assert "the gateway of KOR does not answer ours: KOR cannot be asked what it holds" in shared.absent.output
    assert shared.places["JPN"].national not in shared.absent.output
    assert "Is the gateway running" not in shared.absent.output


def test_two_exported_folders_agree_with_nobody_online(shared: Shared) -> None:
    result = run(shared.folders())
    assert result.exit_code == 0, result.output
    assert "no ledger parts" in result.output
    assert FLASH in result.output


def altered(shared: Shared, node: str, directory: Path) -> Path:
    shutil.copytree(shared.top / node, directory / node)
    return directory / node


def test_a_changed_entry_in_a_folder_is_named_with_whose_it_is(shared: Shared, tmp_path: Path) -> None:
    folder = altered(shared, "KOR", tmp_path)
    (bundle,) = (folder / FLASH / "tile" / "entries").glob("*.p/*")
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(data)
    result = run(shared.folders(KOR=folder))
    assert result.exit_code == 3, result.output
    told = " ".join(result.output.split())
    assert "the folder of KOR is not sound: entry" in told
    assert f"in {bundle.relative_to(folder / FLASH)} is not the one signed" in told
    assert told.count("the folder of KOR is not sound") == 1


def test_a_ledger_that_a_folder_lacks_is_absent_from_it(shared: Shared, tmp_path: Path) -> None:
    folder = altered(shared, "KOR", tmp_path)
    shutil.rmtree(folder / FLASH)
    result = run([*shared.folders(KOR=folder), "--json"])
    assert result.exit_code == 3, result.output
    found = {each["ledger"]: each["finding"] for each in json.loads(result.stdout)["ledgers"]}
    assert {ledger: finding for ledger, finding in found.items() if "ABSENT" in finding}.keys() == {FLASH}
    assert "ABSENT from the folder of KOR" in found[FLASH]


def test_a_manifest_that_was_changed_excuses_nothing(shared: Shared, tmp_path: Path) -> None:
    folder = altered(shared, "KOR", tmp_path)
    shutil.rmtree(folder / FLASH)
    manifest = folder / "manifest"
    manifest.write_text(re.sub(rf"(?m)^({FLASH}) \d+$", r"\1 0", manifest.read_text("utf-8")), "utf-8")
    result = run([*shared.folders(KOR=folder), "--json"])
    assert result.exit_code == 3, result.output
    found = {each["ledger"]: each["finding"] for each in json.loads(result.stdout)["ledgers"]}
    assert found[FLASH] == ""
    assert "the folder of KOR is not sound: the manifest does not hold" in found["manifest"]


def test_a_ledger_without_its_checkpoint_is_a_finding_of_that_folder(shared: Shared, tmp_path: Path) -> None:
    folder = altered(shared, "KOR", tmp_path)
    (folder / FLASH / "checkpoint").unlink()
    result = run([*shared.folders(KOR=folder), "--json"])
    assert result.exit_code == 3, result.output
    found = {each["ledger"]: each["finding"] for each in json.loads(result.stdout)["ledgers"]}
    assert "the folder of KOR is not sound" in found[FLASH]


def test_two_signed_histories_are_named_and_both_notes_saved(shared: Shared, tmp_path: Path) -> None:
    """KOR's folder holds a ledger that JPN's own key signed otherwise."""
    folder = altered(shared, "KOR", tmp_path)
    place = folder / FLASH
    jpn = signatory(shared.places["JPN"])
    true = Checkpoint.parse(Note.parse((place / "checkpoint").read_bytes()).text)
    (tile,) = (place / "tile" / "0").glob("*.p/*")
    leaves = bytearray(tile.read_bytes())
    leaves[-32:] = leaf_hash(b"another last entry")
    tile.write_bytes(leaves)
    root = Frontier.empty().append([bytes(leaves[at : at + 32]) for at in range(0, len(leaves), 32)]).root()
    forked = sign_checkpoint(Checkpoint(true.origin, true.size, root), jpn.log).encode()
    (place / "checkpoint").write_bytes(forked)
    evidence = tmp_path / "evidence"
    result = run([*shared.folders(KOR=folder), "--json", "--evidence", str(evidence)])
    assert result.exit_code == 3, result.output
    found = {each["ledger"]: each for each in json.loads(result.stdout)["ledgers"]}[FLASH]
    assert found["differing"] == [true.size - 1]
    assert f"JPN signed two trees that part at entry {true.size - 1}" in found["finding"]
    # What proves it is one file, and beside it the receipt that KOR gave for what it then does not hold.
    assert "KOR gave a receipt" in found["finding"]
    pair, note = sorted(evidence.iterdir(), key=lambda path: path.suffix)
    assert (pair.suffix, note.suffix) == (".json", ".note")
    assert forked in decode(pair.read_bytes())
    ours = shared.folders()
    pinned = ["--bundle", ours[ours.index("--our-bundle") + 1], "--root", ours[ours.index("--our-root") + 1]]
    checked = CliRunner().invoke(main, ["ledger", "check-evidence", str(pair), *pinned])
    assert checked.exit_code == 0, checked.output
    assert "PROVED: JPN contradicted itself" in checked.output
    assert "PARTS" in run(shared.folders(KOR=folder)).output


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--partner", "KOR"],
        ["--ours", "."],
        ["--ours", ".", "--theirs", "."],
        ["--partner", "KOR", "--ours", ".", "--theirs", "."],
    ],
)
def test_half_of_what_is_needed_is_wrong_usage(options: list[str]) -> None:
    assert run(options).exit_code == 2


def test_a_folder_that_is_no_export_and_a_bundle_twice_are_refused_in_words(shared: Shared, tmp_path: Path) -> None:
    result = run(shared.folders(KOR=tmp_path))
    assert result.exit_code == 1
    assert "no exported ledger" in result.output
    pki = shared.places["JPN"].directory / "pki"
    options = shared.folders()
    options[-4:] = ["--their-bundle", str(pki / "bundle.note"), "--their-root", str(pki / "root.vkey")]
    assert "both bundles are those of JPN" in run(options).output
