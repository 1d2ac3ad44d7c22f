"""The names under which a node's note keys sign (C2SP signed-note: a key is its name and its bytes together).

One name for each purpose, so that a signature made for one can never be read as another.
"""

from __future__ import annotations

from gateway.identity.spiffe import trust_domain_of


def root_key_name(node: str) -> str:
    """Name of the offline root of `node`, which signs trust bundles and nothing else."""
    return f"{_prefix(node)}/root"


def gateway_key_name(node: str) -> str:
    """Name of the log key of `node`: checkpoints, heartbeats, challenges."""
    return f"{_prefix(node)}/gateway"


def officer_key_name(node: str, name: str) -> str:
    """Name of the key with which the officer `name` of `node` signs orders."""
    return f"{_prefix(node)}/officer/{name}"


def bundle_origin(node: str) -> str:
    """First line of the trust bundle of `node`."""
    return f"{_prefix(node)}/bundle"


def _prefix(node: str) -> str:
    trust_domain_of(node)
    return f"signalfire/v1/{node}"
