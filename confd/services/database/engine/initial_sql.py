"""SQL that fills a new database: a YAML file on the node that makes its data.

The file is a list of statements, or a mapping with such a list under ``statements``::

    - CREATE SCHEMA sales
    - |
      CREATE TABLE sales.orders (id bigint PRIMARY KEY,
                                 placed timestamptz)

They run one after another as sys in the new database, before it is there for anybody: all of them or, when one fails,
none, and the database does not start.
"""

from __future__ import annotations

from typing import Final

import yaml

from confd.cluster.host import Host
from confd.model.errors import InvalidParameter, NotFound

_LONGEST: Final = 16 << 20
_FORM: Final = "give a list of SQL statements, or a mapping with such a list under 'statements'"


def read_statements(host: Host, path: str) -> list[str]:
    """Return the statements of a file in the node's view.

    :raises NotFound: there is no such file.
    :raises InvalidParameter: it is something else, or lies outside of /exa.
    """
    file = host.path(path)
    try:
        if file.stat().st_size > _LONGEST:
            raise InvalidParameter(f"initial_sql: {path} is larger than 16 MiB")
        text = file.read_text()
    except OSError as error:
        raise NotFound(f"initial_sql: {path} cannot be read on {host.name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidParameter(f"initial_sql: {path} is not UTF-8 text") from None
    return parse_statements(path, text)


def parse_statements(path: str, text: str) -> list[str]:
    """Return the statements that a text holds, each without a semicolon at its end.

    :raises InvalidParameter: the text has another form.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidParameter(f"initial_sql: {path} is not YAML: {error}") from None
    if isinstance(content, dict) and set(content) == {"statements"}:
        content = content["statements"]
    if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
        raise InvalidParameter(f"initial_sql: {path} has another form; {_FORM}")
    cut = [one.strip().rstrip(";").rstrip() for one in content]
    return [one for one in cut if one]


def script(statements: list[str], user: str) -> str:
    """Return what a server in single-user mode reads (option -j): a semicolon and an empty line end a statement."""
    # Within a body they would end it too: a blank between them does not.
    words = [f"SET SESSION AUTHORIZATION {user}", *(one.replace(";\n\n", "; \n\n") for one in statements)]
    return "".join(f"{word};\n\n" for word in words)
