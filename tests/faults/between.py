"""A link between each two gateways of a deployment: a `Proxy` for each that dials another.

Each nation's bundle, as its partner has it, then names the proxy's address. It is signed anew by the nation's root,
with the same sequence, so that the bundle which comes in band is no newer one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

from gateway.demo.deployment import Deployed
from gateway.identity import nation
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from tests.faults.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a deployment, by who dials and who is dialled."""

    proxies: Mapping[tuple[str, str], Proxy]

    def between(self, one: str, other: str) -> Sequence[Proxy]:
        """Both links between two nations."""
        return self.proxies[one, other], self.proxies[other, one]

    def __getitem__(self, dialler_and_dialled: tuple[str, str]) -> Proxy:
        return self.proxies[dialler_and_dialled]


@contextlib.contextmanager
def links(
    places: Mapping[str, Deployed], *, seed: int = 0, pairs: Collection[frozenset[str]] | None = None
) -> Iterator[Links]:
    """A link between each two of these, which no gateway runs in yet, or between these `pairs` alone; the bundles are
    put back at the end.
    """
    with contextlib.ExitStack() as stack:
        made = {}
        for number, (dialler, dialled) in enumerate(permutations(sorted(places), 2)):
            if pairs is not None and frozenset((dialler, dialled)) not in pairs:
                continue
            made[dialler, dialled] = proxy = stack.enter_context(
                Proxy(places[dialled].exchange, seed=1000 * seed + number)
            )
            stack.enter_context(reached_at(places, dialler, dialled, proxy.address))
        yield Links(made)


@contextlib.contextmanager
def reached_at(places: Mapping[str, Deployed], dialler: str, dialled: str, *addresses: str) -> Iterator[None]:
    """While it lasts, `dialler` reaches `dialled` at these addresses, and at no other."""
    held = bundle_held(places, dialler, dialled)
    before = held.with_suffix(".before")
    shutil.copy(held, before)
    pki = places[dialled].directory / "pki"
    root = nation.load_nation(pki).root
    bundle = TrustBundle.open(held.read_bytes(), root.vkey, now=datetime.now(UTC))
    server_name = bundle.endpoints[0].server_name
    endpoints = tuple(Endpoint(address=address, server_name=server_name) for address in addresses)
    changed = bundle.model_copy(update={"endpoints": endpoints})
    held.write_bytes(changed.sign(root.signer()).encode())
    try:
        yield
    finally:
        shutil.move(before, held)


def bundle_held(places: Mapping[str, Deployed], holder: str, of: str) -> Path:
    """The file of one nation's bundle as a partner has it."""
    return places[holder].directory / "partners" / f"{of}.bundle.note"
