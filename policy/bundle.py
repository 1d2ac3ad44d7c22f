"""A bundle: the node's release policy as a whole, loaded from a directory. The one module of the room that does I/O.

A directory holds ``policy.yaml``, ``invariants.yaml``, and ``partners/<CODE>.yaml``, ``areas/<name>.geojson`` and
``cases/<name>.yaml``. Names that begin with a dot are passed over (a version control's, an orchestrator's); anything
else is refused. Every file is read once, and what is compiled is what the digest covers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from signalfire.v1 import report_pb2

from policy import transform as copies
from policy.cel import Vocabulary
from policy.compile import AREAS, CASES, PARTNERS, POLICY_FILE, check_size, compile_files
from policy.decide import Asking
from policy.decision import RELEASED, BuiltIn, Circumstances, Decision, withheld
from policy.document import Agreement
from policy.errors import ObligationError, PolicyError, Problem
from policy.invariants import Invariant
from policy.limits import DEFAULT_LIMITS, Limits
from policy.questions import Equivalences, Policies
from policy.rules import PartnerPolicy
from policy.transform import WasReleased
from policy.vocabulary import Posture

_DIGEST_CONTEXT = b"signalfire/policy-bundle/v1"


@dataclass(frozen=True)
class Bundle:
    """A node's release policy, compiled.

    ``digest`` is the SHA-256 over the whole bundle, 32 bytes, and ``files`` what it covers; ``posture`` the one that
    holds until an officer declares another; ``policies`` the rules for all partners; ``invariants`` what must be proved
    of them.
    """

    posture: Posture
    digest: bytes
    files: Mapping[str, bytes]
    policies: Policies
    agreements: Mapping[str, Agreement]
    vocabulary: Vocabulary
    invariants: tuple[Invariant, ...]

    @property
    def node(self) -> str:
        """The node whose policy it is."""
        return self.policies.node

    @property
    def partners(self) -> Mapping[str, PartnerPolicy]:
        """The rules by partner."""
        return self.policies.partners

    @property
    def equivalences(self) -> Equivalences:
        """What the levels of others' markings are protected as here."""
        return self.policies.equivalences

    def ask(self, report: report_pb2.Report, circumstances: Circumstances) -> Asking:
        """A valid report, to be decided for one partner after another (``policy.decide``)."""
        return Asking(self.policies, report, circumstances)

    def decide(self, report: report_pb2.Report, partner: str, circumstances: Circumstances) -> Decision:
        """Decides what becomes of a valid report for one partner."""
        return self.ask(report, circumstances).decide(partner)

    def narrow(self, report: report_pb2.Report, decision: Decision, was_released: WasReleased) -> Decision:
        """The decision, given what the partner has (``policy.transform.narrow``)."""
        return copies.narrow(report, decision, was_released)

    def transform(self, report: report_pb2.Report, decision: Decision, was_released: WasReleased) -> report_pb2.Report:
        """The copy that goes to the decision's partner (``policy.transform.transform``)."""
        return copies.transform(report, decision, was_released, self.node)

    def carry_out(
        self, report: report_pb2.Report, decision: Decision, was_released: WasReleased
    ) -> tuple[Decision, report_pb2.Report | None]:
        """The decision given what the partner has, and the copy that goes; None where none does.

        A copy that cannot be made as its rule obliges is withheld: "(policy error)".
        """
        decision = copies.narrow(report, decision, was_released)
        if decision.outcome is not RELEASED:
            return decision, None
        try:
            return decision, copies.transform(report, decision, was_released, self.policies.node)
        except ObligationError as error:
            failed = f'rule "{decision.rule}": {error}'
            return withheld(decision.partner, BuiltIn.POLICY_ERROR, error=failed, asked=decision.asked), None


def digest_of(files: Mapping[str, bytes]) -> bytes:
    """SHA-256 over a bundle's files, 32 bytes.

    Hashed are the text ``signalfire/policy-bundle/v1``, then for each file, in the order of its name's UTF-8 bytes, its
    name and its content; each of the three after its own length, as eight bytes, big-endian. So no two bundles give
    the same input.
    """
    digest = hashlib.sha256()
    parts = [_DIGEST_CONTEXT]
    for name, content in sorted((name.encode(), content) for name, content in files.items()):
        parts += [name, content]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def compile_bundle(files: Mapping[str, bytes], limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """Compiles a bundle from its files, by path inside the bundle with forward slashes. Raises PolicyError with every
    problem found."""
    compiled = compile_files(files, limits)
    return Bundle(
        compiled.posture,
        digest_of(files),
        MappingProxyType(dict(files)),
        compiled.policies,
        MappingProxyType(dict(compiled.agreements)),
        compiled.vocabulary,
        compiled.invariants,
    )


def read_files(directory: Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """Reads a bundle's files. Of a file that is too long, one byte more than the limit is read.

    Raises PolicyError where the directory or a file cannot be read, or the files together are too large.
    """
    problems: list[Problem] = []
    files: dict[str, bytes] = {}
    for path in _files_of(directory, problems):
        name = path.relative_to(directory).as_posix()
        try:
            with path.open("rb") as file:
                files[name] = file.read(limits.file_bytes + 1)
        except IsADirectoryError:
            remedy = f"A bundle's own directory holds {POLICY_FILE}: give that one, or take this out."
            problems.append(Problem(name, 0, "This is a directory, and not a file of a bundle.", remedy))
        except OSError as error:
            problems.append(Problem(name, 0, f"The file cannot be read: {error.strerror}.", "Mend its permissions."))
    if problems:
        raise PolicyError(problems)
    check_size(files, limits)
    return files


def _files_of(directory: Path, problems: list[Problem]) -> list[Path]:
    found: list[Path] = []
    try:
        for path in directory.iterdir():
            if path.name.startswith("."):
                continue
            if path.name in (PARTNERS, AREAS, CASES) and path.is_dir():
                found += [inner for inner in path.iterdir() if not inner.name.startswith(".")]
            else:
                found.append(path)
    except OSError as error:
        remedy = f"Give the directory that holds {POLICY_FILE}."
        problems.append(Problem(str(directory), 0, f"The directory cannot be read: {error.strerror}.", remedy))
    return found


def load(directory: str | Path, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """Loads the bundle in a directory. Raises PolicyError with every problem found; then nothing is loaded."""
    return compile_bundle(read_files(Path(directory), limits), limits)
