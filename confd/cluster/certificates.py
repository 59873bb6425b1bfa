"""Certificates: the cluster's own authority, one certificate per node, one for clients of the API."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
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
    builder = _builder(name, name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Pair(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key)


def new_member(authority: Pair, uuid: str, addresses: Sequence[str]) -> Pair:
    """Make the certificate of a node; its common name is the node's UUID."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _as_member(_builder(_name(uuid), authority.certificate.subject, key.public_key()), addresses)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def new_request(uuid: str) -> tuple[bytes, bytes]:
    """Make the key of a node that joins, and the request to certify it; both PEM. The key stays where it is made."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(uuid)).sign(key, hashes.SHA256())
    pkcs8 = serialization.PrivateFormat.PKCS8
    key_pem = key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
    return key_pem, request.public_bytes(serialization.Encoding.PEM)


def read_request(request: bytes) -> ec.EllipticCurvePublicKey:
    """Return the public key that a request is for; who made the request holds the private one.

    :raises ValueError: it is no such request.
    """
    read = x509.load_pem_x509_csr(request)
    key = read.public_key()
    if not read.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the request is not signed by the key it is for")
    return key


def certify(authority: Pair, request: bytes, uuid: str, addresses: Sequence[str]) -> bytes:
    """Return the certificate (PEM) of a node for the key of its request; what else the request says does not count.

    :raises ValueError: the request is not one.
    """
    builder = _builder(_name(uuid), authority.certificate.subject, read_request(request))
    return _as_member(builder, addresses).sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def load_pair(certificate: bytes, key: bytes) -> Pair:
    """Read a certificate and its key from PEM.

    :raises ValueError: they are not such, TypeError: of another kind.
    """
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not one of an authority made here")
    return Pair(x509.load_pem_x509_certificate(certificate), loaded)


def check_member(authority: bytes, certificate: bytes, key: bytes, uuid: str, now: dt.datetime) -> None:
    """Check the certificate of a node, all given as PEM, before others refuse it without a word.

    :raises ValueError: says what is wrong with it.
    """
    mine, above = x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(authority)
    if load_pair(certificate, key).key.public_key() != mine.public_key():
        raise ValueError("it does not belong to the node's private key")
    try:
        mine.verify_directly_issued_by(above)
    except (InvalidSignature, ValueError, TypeError):
        raise ValueError("it is not of this cluster: another authority has signed it") from None
    names = [str(name.value) for name in mine.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [uuid]:
        raise ValueError(f"it is that of the node with UUID {', '.join(names)}, this one has {uuid}")
    begin = max(one.not_valid_before_utc for one in (mine, above))
    end = min(one.not_valid_after_utc for one in (mine, above))
    if now < begin:
        raise ValueError(f"it begins at {_time(begin)}, the clock here says {_time(now)}; set the clock right (NTP)")
    if now > end:
        raise ValueError(
            f"it ended at {_time(end)}, the clock here says {_time(now)}; set the clock right (NTP), or, if it is "
            "right, remove this node and join a new one"
        )


def fingerprint(certificate: bytes) -> bytes:
    """Return the SHA-256 of a certificate given as PEM.

    :raises ValueError: it is not one.
    """
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())


def key_fingerprint(request: bytes) -> str:
    """Return the SHA-256 of the key of a request, hexadecimal."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(read_request(request).public_bytes(serialization.Encoding.DER, form)).hexdigest()


def new_nameless_client(authority: Pair) -> Pair:
    """Make a client's certificate that names nobody: etcd's gateway takes no other beside a user's password."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _builder(x509.Name([]), authority.certificate.subject, key.public_key()).add_extension(
        usage, critical=False
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def new_self_signed(name: str, addresses: Sequence[str]) -> Pair:
    """Make the certificate that API clients see until ``cert_update`` brings a better one."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), _name(name), key.public_key())
    builder = builder.add_extension(_alternative_names(addresses), critical=False)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _as_member(builder: x509.CertificateBuilder, addresses: Sequence[str]) -> x509.CertificateBuilder:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(both, critical=False)
    return builder.add_extension(_alternative_names(addresses), critical=False)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _SKEW).not_valid_after(now + _VALID)


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


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
