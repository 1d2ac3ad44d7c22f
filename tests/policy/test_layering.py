"""What the room may import, and who does I/O."""

from __future__ import annotations

import ast
from pathlib import Path

import policy

ROOM = Path(policy.__file__).parent
ALLOWED = {
    *("geographiclib", "json", "math", "s2geometry", "xml", "yaml", "z3"),
    *("cel_expr_python", "google", "nacl", "policy", "pydantic", "pydantic_core", "signalfire"),
    *("__future__", "base64", "collections", "dataclasses", "datetime", "difflib", "enum", "functools", "hashlib"),
    *("itertools", "operator", "pathlib", "re", "string", "struct", "textwrap", "types", "typing", "unicodedata"),
    # A lock in memory: the solver's one context is used by one thread at a time.
    "threading",
}


def imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_policy_imports_nothing_of_the_gateway_nor_anything_unforeseen() -> None:
    for path in ROOM.rglob("*.py"):
        assert {name.partition(".")[0] for name in imported_by(path)} <= ALLOWED, path.name


def test_of_the_contract_the_policy_uses_the_report_and_its_approval_the_orders() -> None:
    for path in ROOM.rglob("*.py"):
        names = {name for name in imported_by(path) if name.startswith("signalfire")}
        allowed = "signalfire.v1.officer_pb2" if path.parent.name == "approve" else "signalfire.v1.report_pb2"
        assert names <= {allowed}, path.name


def test_only_the_bundle_touches_files() -> None:
    users = {path.name for path in ROOM.rglob("*.py") if "pathlib.Path" in imported_by(path)}
    assert users == {"bundle.py"}
    for path in ROOM.rglob("*.py"):
        called = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not called & {"open", "print", "input"}, path.name
