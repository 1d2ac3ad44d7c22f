"""Nations as commands believe them offline: a trust bundle and the root that signed it, both files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.audit.proof_check import Nation, at
from gateway.clock import Clock
from gateway.exchange.partners import public_keys
from gateway.identity.trust_bundle import TrustBundle

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_ALWAYS = datetime.min.replace(tzinfo=UTC)


def nation_of(bundle: Path, root: Path) -> tuple[Nation, list[str]]:
    """The keys of a nation, believed on the word of its root, and what has to be said about the bundle.

    One that has expired still says which keys there were: whatever is checked by it says what time counts. Raises
    IdentityError, OSError.
    """
    opened = TrustBundle.open(bundle.read_bytes(), root.read_text("ascii", "replace").strip(), now=_ALWAYS)
    expires = int(opened.expires.timestamp())
    remarks = []
    if Clock().now() >= opened.expires:
        remarks.append(
            f"the trust bundle of {opened.node} expired at {at(expires)}: which keys it withdrew since is not known"
        )
    return Nation(public_keys(opened), expires), remarks


def nations_of(bundles: Sequence[Path], roots: Sequence[Path]) -> tuple[dict[str, Nation], list[str]]:
    """Several nations by node: the first bundle goes with the first root, and so on. Raises IdentityError, OSError."""
    if len(bundles) != len(roots) or not bundles:
        raise click.UsageError("give a --root with each --bundle, in the same order, and at least one of both")
    nations: dict[str, Nation] = {}
    remarks: list[str] = []
    for bundle, root in zip(bundles, roots, strict=True):
        nation, more = nation_of(bundle, root)
        if nation.node in nations:
            raise click.UsageError(f"two bundles of {nation.node} were given")
        nations[nation.node] = nation
        remarks += more
    return nations, remarks
