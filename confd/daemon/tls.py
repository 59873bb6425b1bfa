"""TLS of the API, as ``[SSL]`` of EXAConf says."""

from __future__ import annotations

import ssl

from confd.cluster.host import Host
from confd.exaconf import CertVerify, Conf

_VERIFY = {
    CertVerify.NONE: ssl.CERT_NONE,
    CertVerify.OPTIONAL: ssl.CERT_OPTIONAL,
    CertVerify.REQUIRED: ssl.CERT_REQUIRED,
}


def api_tls(conf: Conf, host: Host) -> ssl.SSLContext:
    """Make the context that clients of the API meet."""
    settings = conf.ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(host.path(settings.cert), host.path(settings.cert_key))
    context.verify_mode = _VERIFY[settings.cert_verify]
    if context.verify_mode is not ssl.CERT_NONE:
        context.load_verify_locations(host.path(settings.cert_auth))
    return context
