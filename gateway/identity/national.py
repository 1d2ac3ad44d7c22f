"""Whom a gateway believes on its national side: the authorities of C2 systems and officers, and what they revoked.

The files are read at every judgement, so that a renewed authority or a revocation list is heeded at once. Rules:

1. Files that cannot be believed (a list that is not of these authorities, a half-written file) change nothing: that is
   logged as an error, once for each way of failing, and what was in force stays so.
2. At a start nothing is in force, so there they stop the gateway.
3. So does a list that is older than the one in force: it would give back what was revoked since.
4. A list whose time has passed is heeded, and remarked.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.issuers import crl_file, parse_issuers, read_issuers
from gateway.identity.peer import Authorities
from gateway.identity.private_files import read_private
from gateway.identity.revocation import MAX_AUTHORITIES, MAX_LISTS, Issuers, overdue, set_back
from gateway.identity.spiffe import Role, trust_domain_of

_log = logging.getLogger(__name__)


class NationalAuthorities:
    """Gives the authorities believed at this moment. Raises SecretFileError where there never were any."""

    def __init__(self, directory: Path, node: str) -> None:
        self._directory = directory
        self._trust_domain = trust_domain_of(node)
        self._seen: dict[Role, tuple[bytes, bytes | None]] = {}
        self._issuers: dict[Role, Issuers] = {}
        self._failed: dict[Role, str] = {}
        for role in (Role.C2, Role.OFFICER):
            self._read(role)

    def __call__(self) -> Authorities:
        for role in self._issuers:
            try:
                self._read(role)
            except SecretFileError as refused:
                # Said once for each way of failing, for it is asked all the time.
                if str(refused) != self._failed.get(role):
                    _log.error("authorities of the role %s: %s The previous ones stay in force.", role.value, refused)
                self._failed[role] = str(refused)
            else:
                self._failed.pop(role, None)
        return {(self._trust_domain, role): issuers for role, issuers in self._issuers.items()}

    def remarks(self, now: datetime) -> list[str]:
        """What is heeded, and should be known: revocation lists that were to be replaced by now."""
        found = (overdue(crl, now) for issuers in self._issuers.values() for crl in issuers.crls)
        return [remark for remark in found if remark is not None]

    def _read(self, role: Role) -> None:
        authorities, lists = self._directory / f"{role.value}-ca.crt.pem", self._directory / crl_file(role)
        raw = (
            read_private(authorities, most=MAX_AUTHORITIES),
            read_private(lists, most=MAX_LISTS) if lists.exists() else None,
        )
        if raw != self._seen.get(role):
            found = parse_issuers(raw[0], str(authorities), raw[1], str(lists))
            wrong = set_back(found, self._issuers[role]) if role in self._issuers else None
            if wrong is not None:
                raise SecretFileError(
                    Refusal.STALE_SEQUENCE, wrong, where=str(lists), mend="Install the newest list of your nation."
                )
            if raw[1] is not None and len(raw[1]) > MAX_LISTS // 4:
                _log.error("%s has %d bytes, and %d are read at most", lists, len(raw[1]), MAX_LISTS)
            self._issuers[role] = found
            if role in self._seen:
                _log.info("authorities of the role %s have changed and are in force", role.value)
            self._seen[role] = raw


def national_authorities(out: Path, node: str) -> Authorities:
    """The authorities that the gateway whose secrets lie in `out` believes for its own C2 systems and officers, and
    what they have revoked. Raises `SecretFileError`, also for a revocation list that is not of these authorities.
    """
    return {
        (trust_domain_of(node), role): read_issuers(out / f"{role.value}-ca.crt.pem", out / crl_file(role))
        for role in (Role.C2, Role.OFFICER)
    }
