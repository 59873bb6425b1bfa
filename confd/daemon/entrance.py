"""The HTTPS port of a node, as EXAConf says: opened as soon as it can be, never a reason for the daemon to end.

What hinders it (a port that is taken, a certificate that cannot be read) stands in the configuration or on the machine.
Both can be put right while the daemon runs: jobs come in by the unix socket and by other nodes.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from confd.api.server import ApiServer
from confd.cluster.host import Host
from confd.cluster.ports import explain
from confd.daemon.tls import api_tls
from confd.exaconf import Conf
from confd.model.errors import ConfDError

log = structlog.get_logger("api")

_AGAIN_SECONDS: Final = 1.0


class Entrance:
    """Opens the HTTPS port, and says what keeps it from opening."""

    def __init__(self, api: ApiServer, host: Host) -> None:
        self._api, self._host = api, host
        self._trouble, self._tried = "", 0

    @property
    def trouble(self) -> str:
        """Why the port is not open and what to do; empty when it is, or is tried with another configuration next."""
        return self._trouble if self._tried == self._host.conf().revision else ""

    async def open(self) -> None:
        """Return once clients are served. The configuration is looked at anew with every try."""
        while trouble := await self._try(conf := self._host.conf()):
            if trouble != self._trouble:
                log.error("port_not_open", trouble=trouble)
            self._trouble, self._tried = trouble, conf.revision
            await asyncio.sleep(_AGAIN_SECONDS)
        if self._trouble:
            log.info("port_open", port=conf.global_.xmlrpc_port)
        self._trouble = ""

    async def _try(self, conf: Conf) -> str:
        try:
            tls = api_tls(conf, self._host)
        except (OSError, ValueError, ConfDError) as error:
            return (
                f"[SSL] Cert {conf.ssl.cert}, CertKey {conf.ssl.cert_key} or CertAuth {conf.ssl.cert_auth} cannot be "
                f"used: {error}; put the files right on {self._host.name}, or name others in EXAConf (exaconf commit)"
            )
        address, port = self._host.address, conf.global_.xmlrpc_port
        try:
            await self._api.listen(address, port, tls)
        except OSError as error:
            return (
                f"[Global] XMLRPCPort: port {port} on {address} {explain(address, port, error)}; free it, or choose "
                f"another one on {self._host.name}: confd_client general_settings changes: "
                "'{Global: {XMLRPCPort: 20003}}'"
            )
        return ""
