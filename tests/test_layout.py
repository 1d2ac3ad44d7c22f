"""The walls of the house: what may import what, what does no I/O, and what no module may be called."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]

_CORES: Final = {"policy", "ledger", "seal", "reports"}
_RELEASE: Final = {"release", *_CORES, "identity", "attention", "telemetry"}
_SERVICES: Final = {"c2", "exchange", "officer"}

MAY_IMPORT: Final[Mapping[str, set[str]]] = {
    # What knows of nothing else here.
    "policy": set(),
    "ledger": set(),
    "reports": {"policy"},
    "attention": set(),
    "telemetry": {"attention"},
    "clock": set(),
    "synchronisation": set(),
    "cancellation": set(),
    # Trees and notes are the ledger's; keys of nodes and entries are made of them.
    "seal": {"ledger"},
    "identity": {"ledger"},
    # The one way of a report, and who asks for it. No service knows of another.
    "release": _RELEASE,
    "c2": {*_RELEASE, "cancellation"},
    "exchange": {*_RELEASE, "cancellation"},
    "officer": {*_RELEASE, "audit", "cancellation"},
    # What reads the record, for officers and for whoever checks it from outside.
    "audit": _RELEASE,
    # The public library: the contract, TLS, and nothing of a gateway's inside.
    "client": {"identity", "cancellation"},
    # What puts the rooms together, and what starts it.
    "alarms": {*_RELEASE, "exchange", "expiry"},
    "config_limits": {*_RELEASE, *_SERVICES, "alarms"},
    "config": {*_RELEASE, *_SERVICES, "alarms", "config_limits", "synchronisation"},
    "reconciliation": {*_RELEASE, *_SERVICES, "audit"},
    "taking_back": {*_RELEASE, *_SERVICES, "audit", "reconciliation"},
    "expiry": {"identity", "policy"},
    "generations": {"identity", "ledger"},
    "status": {*_RELEASE, "exchange", "gateway"},
    "watchdog": set(),
    "doctor": {*_RELEASE, *_SERVICES, "audit", "config", "clock", "expiry", "synchronisation"},
    "node": {
        *_RELEASE,
        *_SERVICES,
        "alarms",
        "audit",
        "config",
        "clock",
        "expiry",
        "generations",
        "reconciliation",
        "gateway",
        "taking_back",
        "status",
        "synchronisation",
        "watchdog",
    },
    # The demo reads from the record what was kept back, in the words in which the exchange puts it there.
    "demo": {"client", "exchange", "identity", "reports", "ledger", "policy"},
    "cli": {
        *_RELEASE,
        *_SERVICES,
        "audit",
        "client",
        "config",
        "clock",
        "doctor",
        "node",
        "demo",
        "gateway",
        "watchdog",
    },
    "gateway": {"identity"},
    "__main__": {"cli"},
}
"""Rooms, and modules that stand alone, with what each may import beside itself. `gateway` is the package's own file."""

_PURE: Final = {
    *("__future__", "base64", "binascii", "collections", "dataclasses", "datetime", "difflib", "enum", "functools"),
    *("hashlib", "itertools", "math", "operator", "re", "string", "struct", "textwrap", "types", "typing"),
    *("unicodedata", "uuid"),
    # Cryptography, protobuf and readers of texts: they compute.
    *("cryptography", "nacl", "google", "signalfire", "pydantic", "pydantic_core", "cel_expr_python", "geographiclib"),
    *("s2geometry", "yaml", "z3", "json", "xml"),
    # A lock in memory, and reading YAML from text.
    *("threading", "ruamel", "gateway", "policy"),
}
"""What a trusted core may import: nothing that touches a file, a socket, a clock, a log or the event loop."""

_SYSTEM_RANDOM: Final = "os.urandom"
"""The one thing of the operating system that a core may name, as the default of a parameter."""

FORBIDDEN_NAMES: Final = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc", "lib"}


def sources(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of the modules, or things in modules, that a file imports; relative ones are not allowed."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    """The room that a file stands in."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "policy":
        return "policy"
    return "gateway" if parts[1] == "__init__" else parts[1]


def imported_room(name: str) -> str | None:
    """The room that an imported name belongs to; None for what is not of this house."""
    parts = name.split(".")
    if parts[0] == "policy":
        return "policy"
    if parts[0] != "gateway":
        return None
    is_room = len(parts) > 1 and ((ROOT / "gateway" / parts[1]).is_dir() or (ROOT / f"gateway/{parts[1]}.py").exists())
    return parts[1] if is_room else "gateway"


def core_files() -> list[Path]:
    """The trusted cores: the ledger but for its stores, the seal, the validation of reports, the policy but for the
    loading of its files.
    """
    ledger = sorted((ROOT / "gateway" / "ledger").glob("*.py"))
    policy = [path for path in sources("policy") if path.name not in POLICY_FILES_WITH_IO]
    return [*ledger, *sources("gateway/seal", "gateway/reports"), *policy]


POLICY_FILES_WITH_IO: Final = {"bundle.py"}


@pytest.mark.parametrize("path", list(sources("gateway", "policy")), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_one_way(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
    found = {other for name in imports(path) if (other := imported_room(name)) not in (None, room)}
    assert found <= MAY_IMPORT[room], f"{room} must not import {sorted(str(each) for each in found - MAY_IMPORT[room])}"


def test_the_arrows_themselves_make_no_circle() -> None:
    seen: set[str] = set()

    def walk(room: str, way: tuple[str, ...]) -> None:
        assert room not in way, f"a circle: {' -> '.join((*way, room))}"
        if room not in seen:
            for other in MAY_IMPORT[room] - {room}:
                walk(other, (*way, room))
            seen.add(room)

    for room in MAY_IMPORT:
        walk(room, ())


def test_the_policy_stands_without_the_gateway() -> None:
    for path in sources("policy"):
        assert not {name for name in imports(path) if name.split(".")[0] == "gateway"}, path


@pytest.mark.parametrize("path", core_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_trusted_core_does_no_input_or_output(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    foreign = {name for name in imports(path) if name.split(".")[0] not in _PURE} - {"os"}
    assert not foreign, f"{path.name} imports {sorted(foreign)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert f"os.{node.attr}" == _SYSTEM_RANDOM, f"{path.name}:{node.lineno} uses os.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = node.func.id
            assert called not in {"open", "print", "input", "exec", "eval", "__import__"}, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "datetime":
            assert node.attr not in {"now", "utcnow", "today"}, f"{path.name}:{node.lineno} reads a clock"
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{path.name} waits for something"


def test_a_trusted_core_takes_no_store_for_granted() -> None:
    for path in core_files():
        assert not {name for name in imports(path) if name.startswith("gateway.ledger.stores")}, path


SQLITE: Final = ROOT / "gateway/ledger/stores/sqlite"
"""The embedded store."""


def test_the_store_is_reached_through_its_interface_but_where_it_is_opened() -> None:
    opens = {
        str(path.relative_to(ROOT))
        for path in sources("gateway")
        if path.parent != SQLITE and any(name.startswith("gateway.ledger.stores.sqlite") for name in imports(path))
    }
    commands = {"cli/ledger.py", "cli/ledger_recover.py", "cli/recorded.py", "cli/opened.py"}
    allowed = {"node/store.py", "node/checks.py", "doctor/record.py", *commands}
    assert opens <= {f"gateway/{name}" for name in allowed}, opens


def test_one_library_reads_and_writes_the_database() -> None:
    users = {path for path in sources("gateway") if any(n.split(".")[0] == "apsw" for n in imports(path))}
    # The temporary database of `ledger verify`.
    gathered = ROOT / "gateway/audit/gathered.py"
    assert {path for path in users if path.parent != SQLITE} == {gathered}
    assert not [path for path in sources("gateway", "policy", "tests") if "sqlite3" in imports(path)]


def test_one_file_commits() -> None:
    """`.commit(` of a store is called by the sequencer, and by nothing else of the gateway."""
    callers = set()
    for path in sources("gateway"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit":
                if ast.unparse(node.func.value) == "commitment":
                    continue
                callers.add(str(path.relative_to(ROOT)))
    assert callers == {"gateway/release/sequencer/committing.py"}


def test_no_module_is_a_drawer() -> None:
    for path in sources("gateway", "policy", "tests"):
        name = path.parent.name if path.name == "__init__.py" else path.stem
        assert name not in FORBIDDEN_NAMES, path
        assert not {part for part in name.split("_") if part in FORBIDDEN_NAMES}, path


def test_grpc_is_imported_after_tls_1_3_is_required_of_it() -> None:
    first = (ROOT / "gateway" / "__init__.py").read_text(encoding="utf-8")
    names = [name for node in ast.parse(first).body if isinstance(node, ast.ImportFrom) for name in [node.module]]
    assert names[0] == "gateway.identity"
