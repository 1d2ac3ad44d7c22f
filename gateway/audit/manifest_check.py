"""Holds an exported folder against its manifest: whether every ledger that was written is still there.

Rules, in order:

1. A folder without a manifest is said to have none: nothing then tells whether a whole ledger was taken out.
2. The manifest is signed by the gateway key of the node that it names, where that node's bundle was given. By a retired
   key alone it counts for nothing, and that is said.
3. A ledger that it lists with entries is in the folder with that size, and there is no other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gateway.audit.exported import FolderError, manifest_in
from gateway.audit.manifest import MANIFEST, Manifest, is_signed
from gateway.audit.records import Finding
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.note import Note
from gateway.release.signatory import Partner


def compare_with_manifest(
    top: Path, nations: Mapping[str, Partner], whole: Mapping[str, int], broken: Collection[str]
) -> tuple[Sequence[Finding], Sequence[str]]:
    """Findings, and remarks. `whole` are the sizes of the folder's ledgers by origin line; `broken` are those of which
    but a part is there, which is found elsewhere.
    """
    try:
        found = manifest_in(top)
        if found is None:
            return [], ["no manifest: whether a whole ledger was taken out of the folder cannot be told"]
        manifest, note = found
        remarks = _signed(manifest, note, nations)
    except (FolderError, LedgerError) as error:
        return [Finding(MANIFEST, str(error))], []
    listed = {str(origin): size for origin, size in manifest.sizes.items() if size}
    findings = []
    for origin, size in listed.items():
        if origin not in whole and origin not in broken:
            findings.append(Finding(origin, f"the manifest lists it with {size} entries, and the folder lacks it"))
        elif origin in whole and whole[origin] != size:
            what = f"the manifest lists it with {size} entries, and the folder holds {whole[origin]}"
            findings.append(Finding(origin, what))
    for origin in sorted(set(whole).difference(listed)):
        findings.append(Finding(origin, "the folder holds it, and the manifest does not list it"))
    return findings, remarks


def _signed(manifest: Manifest, note: Note, nations: Mapping[str, Partner]) -> Sequence[str]:
    """Rule 2: what is to be said of the signature. Raises NoteError."""
    node = nations.get(manifest.node)
    if node is None:
        return [f"the manifest was not checked: no trust bundle of {manifest.node} was given"]
    if is_signed(note, node.gateway):
        return []
    if not is_signed(note, node.retired_gateway):
        raise NoteError(f"the manifest is signed by no known key of {manifest.node}")
    return [
        f"the manifest is signed by a key alone that {node.node} has retired, and counts for nothing: have the folder"
        " exported anew"
    ]
