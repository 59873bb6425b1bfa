"""Words of ``params`` that the daemon itself understands, beside the settings of PostgreSQL. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from confd.model.errors import InvalidParameter
from confd.services.database.params import Param

_SWITCHES: Final = {"0": False, "1": True}


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What own words say; names are those of the words.

    ``allow_plaintext``: rows may travel in the clear between machines. ``force_protocol_encryption``: clients must
    use TLS. ``ldap_*``: how a role's name becomes the one that the LDAP server knows. ``kerberos_*``: the principal
    of the database.
    """

    allow_plaintext: bool = False
    force_protocol_encryption: bool = False
    ldap_prefix: str = ""
    ldap_suffix: str = ""
    ldap_base_dn: str = ""
    ldap_search_attribute: str = ""
    ldap_tls: bool = False
    ldap_ca_file: str = ""
    kerberos_hostname: str = ""
    kerberos_realm: str = ""
    kerberos_service_name: str = ""


_FIELDS: Final = {field.encode_name: field for field in msgspec.structs.fields(Options)}
OWN: Final = frozenset(_FIELDS)
"""Names of the words."""


def read_options(params: Iterable[Param]) -> Options:
    """Return what the own words among parameters say; of equal names the last.

    :raises InvalidParameter: a switch that is neither 0 nor 1, or a word without value.
    """
    return msgspec.convert({param.name: _value(param) for param in params if param.name in OWN}, Options)


def _value(param: Param) -> str | bool:
    if param.raw is None:
        raise InvalidParameter(f"database parameter -{param.name} needs a value: -{param.name}=...")
    if not param.value.isprintable():
        raise InvalidParameter(f"database parameter -{param.name} has characters that cannot be printed")
    if _FIELDS[param.name].type is not bool:
        return param.value
    if param.value not in _SWITCHES:
        raise InvalidParameter(f"database parameter {param}: {param.value!r} is neither 0 nor 1")
    return _SWITCHES[param.value]
