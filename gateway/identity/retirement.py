"""Keys of a nation that are out of use, as its directory keeps them: `retired.json`, one list of `OutOfUse`.

What the next trust bundle says of them: of log, receipt and post-quantum keys what they are and until when they signed,
of each kind the latest `MAX_RETIRED`; of sealing keys nothing, for nobody is to seal to them any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.private_files import read_private, write_private
from gateway.identity.trust_bundle import MAX_RETIRED, Base64, RetiredKey, SealingKey, UtcTime

RETIRED_FILE: Final = "retired.json"


class OutOfUse(BaseModel):
    """One key: its kind, its public half (of a sealing key ML-KEM-768 || X25519), and when it last signed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["log", "receipt", "pq", "sealing"]
    key: Base64
    until: UtcTime


_LIST: Final = TypeAdapter(list[OutOfUse])


def encoded(key: SealingKey) -> bytes:
    """A sealing key as one value: ML-KEM-768 || X25519, 1216 bytes."""
    return key.mlkem768 + key.x25519


def read_retired(directory: Path) -> list[OutOfUse]:
    """What is retired in a nation's directory. Raises `SecretFileError`."""
    path = directory / RETIRED_FILE
    if not path.exists():
        return []
    try:
        return _LIST.validate_json(read_private(path))
    except ValidationError as refused:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"this is not a list of retired keys: {refused.error_count()} members are wrong",
            where=str(path),
            mend="Restore the file from its backup: without it retired keys would be believed again.",
        ) from refused


def write_retired(directory: Path, retired: Sequence[OutOfUse]) -> None:
    """Replaces the list."""
    content = json.dumps([one.model_dump(mode="json") for one in retired], indent=2)
    write_private(directory / RETIRED_FILE, f"{content}\n".encode("ascii"))


def retired_of_bundle(retired: Sequence[OutOfUse]) -> tuple[RetiredKey, ...]:
    """The latest of each kind, as a trust bundle lists them."""
    return tuple(
        RetiredKey.model_validate({"kind": one.kind, "key": one.key, "until": one.until})
        for kind, most in MAX_RETIRED.items()
        for one in _latest(retired, kind)[:most]
    )


def left_out(retired: Sequence[OutOfUse]) -> list[OutOfUse]:
    """Those for which a trust bundle has no room: a partner that never had an earlier bundle cannot verify what they
    signed.
    """
    return [one for kind, most in MAX_RETIRED.items() for one in _latest(retired, kind)[most:]]


def _latest(retired: Sequence[OutOfUse], kind: str) -> list[OutOfUse]:
    return sorted((one for one in retired if one.kind == kind), key=lambda one: one.until, reverse=True)
