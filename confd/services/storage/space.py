"""Space of devices: how much of one can be given away, and what each node reports of its own. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from confd.model.states import DeviceState

_METADATA_SHARE: Final = 100


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a node reports of one of its devices; sizes in bytes."""

    name: str
    disk: str
    state: DeviceState
    sector_size: int = 0
    sectors: int = 0
    reserved: int = 0
    read_only: bool = False
    io_error: bool = False
    crc_error: bool = False
    message: str = ""

    @property
    def capacity(self) -> int:
        """Size of the device."""
        return self.sector_size * self.sectors

    @property
    def free(self) -> int:
        """Bytes that new segments can have here."""
        if self.state is not DeviceState.ONLINE or self.read_only:
            return 0
        return max(0, usable(self.capacity) - self.reserved)


def usable(capacity: int) -> int:
    """Return what is left of a capacity after metadata and checksums, about one percent."""
    return capacity - capacity // _METADATA_SHARE
