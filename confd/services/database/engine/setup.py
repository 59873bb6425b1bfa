"""What a database server is on its node by the configuration: where it lies, what runs it, whom it shows itself to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from confd.cluster.host import Host
from confd.exaconf import Database
from confd.model.errors import NotFound
from confd.services.database.engine.certificate import Certificate, node_certificate
from confd.services.database.engine.installation import Capability, Choice, choose, find
from confd.services.database.engine.layout import DataPlace, data_place, layout
from confd.services.database.planning.seats import seats


class Setup:
    """A server as the node's configuration describes it, whether it runs or not."""

    def __init__(self, host: Host, database: str) -> None:
        conf = host.conf()
        self.host = host
        self.database: Database = conf.require_database(database)
        self.volume = conf.require_volume(self.database.data_volume)
        self.seats = seats(self.database, self.volume)
        self.layout = layout(host, database)
        self.place: DataPlace = data_place(host, self.database)

    def choice(self) -> Choice:
        """Return the installation that runs this database."""
        conf = self.host.conf()
        return choose(self.database.version, find(self.host.installations), conf.global_.db_version or None)

    @cached_property
    def certificate(self) -> Certificate | None:
        """The certificate for clients; None when the installation has no TLS or the node no certificate.

        :raises NodeError: it cannot be used.
        """
        capable = Capability.TLS in self.choice().installation.capabilities
        return node_certificate(self.host) if capable else None

    def addresses(self) -> tuple[str, ...]:
        """Return where the server listens: where other instances look for it, and on the networks of its interfaces.

        :raises NotFound: the node has no such network.
        """
        return tuple(dict.fromkeys(self._listened()))

    def _listened(self) -> Iterator[str]:
        node = self.host.conf().require_node(self.host.node)
        yield self.host.address
        wanted = self.database.interfaces or ("private", *(["public"] if node.public_ip else []))
        for network in wanted:
            address = {"private": self.host.address, "public": node.public_ip}.get(network)
            if not address:
                raise NotFound(f"interfaces: {self.host.name} has no network {network!r}")
            yield address
