"""Certificates that sign for a day: a chain of two, made anew for each test."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def write_chain(
    folder: Path, *, days: tuple[int, int] = (-1, 1), purpose: bool = True
) -> tuple[Path, Path]:
    """(certificates, key) as PEM files; days: from today, of their validity; purpose: whether the
    certificate says that it signs documents."""
    folder.mkdir(parents=True, exist_ok=True)
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _begun("Test authority", "Test authority", root, days)
    authority = authority.add_extension(x509.BasicConstraints(True, None), True)
    signed = _begun("Test signer", "Test authority", leaf, days)
    signed = signed.add_extension(x509.BasicConstraints(False, None), True)
    if purpose:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        signed = signed.add_extension(usage, False)
    of = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
    signed = signed.add_extension(of, False)
    chain = [one.sign(root, hashes.SHA256()) for one in (signed, authority)]
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    form, locked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(leaf.private_bytes(pem, form, locked))
    return folder / "chain.pem", folder / "key.pem"


def _begun(name, issuer, key, days):
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (now + datetime.timedelta(days=one) for one in days)
    is_root = name == issuer
    usage = x509.KeyUsage(True, False, False, False, False, is_root, is_root, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _name(name):
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])
