"""The example that `signalfire policy init` writes, as files of a bundle of JPN with KOR as its partner."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import policy
from policy import Bundle, compile_bundle

TEMPLATE: Final = Path(policy.__file__).parent / "template"


def starter_files(**changed: tuple[str, str]) -> dict[str, bytes]:
    """The files; ``policy``, ``partner``, ``invariants`` or ``cases`` with a text replaced that stands in it."""
    files = {
        path.relative_to(TEMPLATE).as_posix().replace("PARTNER", "KOR"): path.read_text("utf-8")
        .replace("PARTNER", "KOR")
        .replace("NODE", "JPN")
        for path in TEMPLATE.rglob("*.yaml")
    }
    names = {
        "policy": "policy.yaml",
        "partner": "partners/KOR.yaml",
        "invariants": "invariants.yaml",
        "cases": "cases/warning.yaml",
    }
    for key, (old, new) in changed.items():
        assert old in files[names[key]], old
        files[names[key]] = files[names[key]].replace(old, new)
    return {name: text.encode() for name, text in files.items()}


def starter(**changed: tuple[str, str]) -> Bundle:
    """The bundle, with a text replaced."""
    return compile_bundle(starter_files(**changed))
