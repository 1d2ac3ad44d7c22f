"""Nations as commands believe them offline: a trust bundle and the root that signed it, both files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gateway.clock import Clock
from gateway.exchange.partners import public_keys
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.signatory import Partner

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def nation_of(bundle: Path, root: Path) -> Partner:
    """The keys of a nation, believed on the word of its root.

    A bundle that has expired says nothing: which of its keys were withdrawn since is not known. Raises IdentityError,
    which then says to get the newest one, and OSError.
    """
    return public_keys(bundle_of(bundle, root))


def bundle_of(bundle: Path, root: Path) -> TrustBundle:
    """The bundle itself, in force. Raises IdentityError and OSError."""
    return TrustBundle.open(bundle.read_bytes(), root.read_text("ascii", "replace").strip(), now=Clock().now())


def nations_of(bundles: Sequence[Path], roots: Sequence[Path]) -> dict[str, Partner]:
    """Several nations by node: the first bundle goes with the first root, and so on. Raises IdentityError, OSError."""
    if len(bundles) != len(roots) or not bundles:
        raise click.UsageError("give a --root with each --bundle, in the same order, and at least one of both")
    nations: dict[str, Partner] = {}
    for bundle, root in zip(bundles, roots, strict=True):
        nation = nation_of(bundle, root)
        if nation.node in nations:
            raise click.UsageError(f"two bundles of {nation.node} were given")
        nations[nation.node] = nation
    return nations
