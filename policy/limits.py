"""Limits on what a bundle may hold, each with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one load. A bundle beyond any of them is refused as a whole."""

    file_bytes: int = 256 * 1024
    """Bytes of one file: a policy that an officer can read; the YAML reader takes about a second for it."""

    bundle_bytes: int = 3 * 1024 * 1024
    """Bytes of all files together, with their names: a bundle travels in one gRPC message, of 4 MiB at most."""

    partner_files: int = 256
    """Partner files of one bundle: more than there are nations."""

    rules: int = 1_000
    """Rules of one partner: every applicable one is evaluated for every report."""

    depth: int = 8
    """Levels of nesting in a document: the language needs 4, and the YAML reader's cost grows with depth squared."""

    condition_bytes: int = 4 * 1024
    """UTF-8 bytes of one condition: what fits one screen of an officer."""

    regex_chars: int = 128
    """Characters of a ``matches()`` pattern. RE2 matches in linear time; the limit keeps its automaton small."""


DEFAULT_LIMITS = Limits()
