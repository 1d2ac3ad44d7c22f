"""The authorities of a role and what they have revoked, as files: read and checked together."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.private_files import read_private
from gateway.identity.revocation import MAX_AUTHORITIES, MAX_LISTS, Issuers, load_crls, signed_by
from gateway.identity.spiffe import Role


def crl_file(role: Role) -> str:
    """The revocation list of a role's authority in a gateway's secrets directory: it need not be there."""
    return f"{role.value}.crl.pem"


def read_issuers(authorities: Path, lists: Path, *, former: bool = False) -> Issuers:
    """The authorities in one file, and what the lists in another revoke, if it is there. Raises `SecretFileError`.

    With `former`, lists of authorities that are not there are passed over: dropping them may have been cut short.
    """
    return parse_issuers(
        read_private(authorities, most=MAX_AUTHORITIES),
        str(authorities),
        read_private(lists, most=MAX_LISTS) if lists.exists() else None,
        str(lists),
        former=former,
    )


def parse_issuers(
    authorities: bytes, authorities_at: str, lists: bytes | None, lists_at: str, *, former: bool = False
) -> Issuers:
    """The same from the contents of the files, and where they are from. Raises `SecretFileError`."""
    try:
        certificates = x509.load_pem_x509_certificates(authorities)
    except ValueError as unreadable:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"there is no readable certificate: {unreadable}",
            where=authorities_at,
            mend="Restore the file from its backup.",
        ) from unreadable
    try:
        crls = () if lists is None else load_crls(lists)
        if former:
            crls = [crl for crl in crls if any(signed_by(crl, one) for one in certificates)]
        return Issuers.of(certificates, crls)
    except ValueError as refused:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"the revocation list is not believed: {refused}",
            where=lists_at,
            mend="Put the list there that `signalfire pki revoke` wrote; what was in force stays so until then.",
        ) from refused
