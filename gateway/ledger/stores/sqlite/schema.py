"""Whose a file is, which version its tables have, and how they are brought up to date."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import apsw

from gateway.ledger.errors import StoreError, StoreVersionError
from gateway.ledger.stores.sqlite.failing import Translated
from gateway.ledger.stores.sqlite.log import BUSY_MS, without_folding

APPLICATION_ID = 0x5349_4746
"""SQLite application id, "SIGF": a file of another program is refused, not overwritten."""

_MIGRATIONS = resources.files("gateway.ledger.stores.sqlite") / "migrations"


def migrations() -> list[str]:
    """The numbered migrations, 0001.sql first. Number n brings a store from version n-1 to version n."""
    scripts = sorted(
        (item.name, item.read_text("utf-8")) for item in _MIGRATIONS.iterdir() if item.name.endswith(".sql")
    )
    names = [name for name, _ in scripts]
    if names != [f"{n:04}.sql" for n in range(1, len(names) + 1)]:
        raise StoreError(f"migrations are not numbered from 0001 without a gap: {', '.join(names)}")
    return [text for _, text in scripts]


def require_own(path: Path, vfs: str | None) -> None:
    """Raises StoreError where the file is of another program, apsw.Error where it cannot be read."""
    db = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs))
    try:
        db.set_busy_timeout(BUSY_MS)
        application = db.pragma("application_id")
        if application not in (0, APPLICATION_ID) or (application == 0 and db.pragma("schema_version") != 0):
            raise StoreError(f"store {path}: is the database of another program; name another file")
    finally:
        db.close()


def require_version(path: Path, db: apsw.Connection, on_failure: Callable[[StoreError], None] | None) -> None:
    """Raises StoreError where the file is no store, StoreVersionError where its version is not what is written here."""
    if not hasattr(apsw, "carray"):
        raise StoreError(f"store {path}: this apsw is built without carray; install apsw 3.51 or later from PyPI")
    with Translated(path, "reading its version", on_failure):
        application = db.pragma("application_id")
        version = db.pragma("user_version")
    known = len(migrations())
    if application != APPLICATION_ID:
        raise StoreError(f"store {path}: is not a Signalfire store (application id {application})")
    if version != known:
        raise StoreVersionError(
            f"store {path}: has schema version {version}, and this software writes {known}; "
            + (
                "the first start of this software's gateway brings it up to date"
                if isinstance(version, int) and version < known
                else "run the version of the gateway that wrote it, or a later one"
            )
        )


def migrate(path: Path, db: apsw.Connection) -> None:
    """Brings an older schema up to date. Raises StoreVersionError where it is newer than this one, or apsw.Error."""
    scripts = migrations()
    version = db.pragma("user_version")
    if not isinstance(version, int) or version > len(scripts):
        raise StoreVersionError(
            f"store {path}: has schema version {version}, newer than this software's {len(scripts)};"
            " run the version of the gateway that wrote it, or a later one"
        )
    for number, script in enumerate(scripts[version:], version + 1):
        with db:
            db.execute(script)
            db.pragma("application_id", APPLICATION_ID)
            db.pragma("user_version", number)
