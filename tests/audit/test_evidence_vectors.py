"""The vectors of proofs and exports are what their maker makes, and this implementation agrees with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.export_check import ExportVerification, verify_export
from gateway.audit.proof_check import NotProved, check_proof
from tests.audit import evidence_vectors as made

JPN, KOR = made.nation("JPN"), made.nation("KOR")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.VECTORS / name).read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", made.FILES)
def test_the_file_is_what_its_maker_makes(name: str) -> None:
    assert made.FILES[name]() == read(name)


@pytest.mark.parametrize("vector", read("proof.json")["accepted"], ids=lambda vector: vector["name"])
def test_a_proof_holds(vector: dict[str, str]) -> None:
    proved = check_proof(vector["file"].encode(), JPN, KOR)
    assert (proved.receipt is None) == (vector["name"] == "without a receipt")
    assert (proved.report is None) == (vector["name"] in ("without content", "as its hash alone"))
    assert bool(proved.hidden) == (vector["name"] == "only whose report it is")


@pytest.mark.parametrize(("name", "file", "says"), made.refused_proofs())
def test_what_proves_nothing_is_refused_by_its_rule(name: str, file: bytes, says: str) -> None:
    with pytest.raises(NotProved, match=says):
        check_proof(file, JPN, KOR)


def checked(files: dict[str, bytes], top: Path) -> ExportVerification:
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    return verify_export(top, {"JPN": JPN, "KOR": KOR})


def test_the_exported_ledger_is_sound(tmp_path: Path) -> None:
    files = {name: bytes.fromhex(content) for name, content in read("export.json")["files"].items()}
    outcome = checked(files, tmp_path)
    assert outcome.findings == []
    (ledger,) = outcome.ledgers
    assert (ledger.size, ledger.absent, ledger.checkpoints, ledger.receipts) == (260, 1, 3, 3)
    assert ledger.pq_size == ledger.receipt_size == 260


@pytest.mark.parametrize(("name", "file", "change", "says"), made.changes())
def test_a_change_of_it_is_found_and_named(name: str, file: str, change: Any, says: str, tmp_path: Path) -> None:
    files = made.files()
    content = change(files.pop(file, b""))
    outcome = checked(files if content is None else {**files, file: content}, tmp_path)
    assert any(re.search(says, finding.what) for finding in outcome.findings), outcome.findings
