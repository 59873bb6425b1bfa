"""Certificates: the cluster's own authority, one certificate per node, one for clients of the API."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = dt.timedelta(days=3650)
_SKEW = dt.timedelta(hours=1)


class Pair:
    """A certificate with its private key, both as PEM on demand."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate, self.key = certificate, key

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, not encrypted."""
        pkcs8 = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())


def new_authority(cluster: str) -> Pair:
    """Make the authority that says who is a member of a cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"OpenConfD cluster {cluster}")
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Pair(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key)


def new_member(authority: Pair, uuid: str, addresses: Sequence[str]) -> Pair:
    """Make the certificate of a node; its common name is the node's UUID."""
    key = ec.generate_private_key(ec.SECP256R1())
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _builder(_name(uuid), authority.certificate.subject, key).add_extension(both, critical=False)
    builder = builder.add_extension(_alternative_names(addresses), critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def new_nameless_client(authority: Pair) -> Pair:
    """Make a client's certificate that names nobody: etcd's gateway takes no other beside a user's password."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _builder(x509.Name([]), authority.certificate.subject, key).add_extension(usage, critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def new_self_signed(name: str, addresses: Sequence[str]) -> Pair:
    """Make the certificate that API clients see until ``cert_update`` brings a better one."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), _name(name), key)
    builder = builder.add_extension(_alternative_names(addresses), critical=False)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _SKEW).not_valid_after(now + _VALID)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _alternative_names(addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return x509.SubjectAlternativeName(names)
