"""The threat model names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+)`", PAGE)
DEFINED = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_a_test_that_the_threat_model_names_is_there(name: str) -> None:
    assert name in DEFINED


def test_every_line_of_the_threat_model_is_shown_by_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    claims = [row for row in rows if "| shown by |" not in row]
    assert len(claims) > 30
    assert [row for row in claims if "`test_" not in row] == []


def test_every_adversary_and_what_is_not_defended_has_a_section() -> None:
    for title in (
        "Somebody on the network", "A partner that turns hostile", "A carrier", "A C2 client", "An officer",
        "The operator, and whoever takes the machine", "The supply chain", "What is not defended",
    ):  # fmt: skip
        assert f"\n## {title}\n" in PAGE
