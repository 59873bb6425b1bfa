"""Values on the command line: YAML's structure, but every plain word stays the text it is.

A password ``007`` or a version ``18.10`` must reach the job as typed, so numbers and truth values are
left to the declared type of the parameter. Only ``guess`` makes numbers of text, for places without a
type.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import yaml

from confd.cli.flow import Unreadable, read_flow

_INCLUDE = re.compile(r"\{<\s*([^{}]*?)\s*\}")
# Quotes and backslashes around it are what is left of quoting for a second shell, as c4 connect has.
_WHOLE_INCLUDE = re.compile(r"""[\\"']*\{<\s*([^{}]*?)\s*\}[\\"']*""")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+", re.ASCII)
_WORDS: Final[dict[str, object]] = {"true": True, "True": True, "false": False, "False": False}


def read_value(text: str) -> object:
    """Read the value of one parameter.

    A flow collection or quoted scalar is read as YAML; everything else, and what is no valid YAML, is
    taken literally, line breaks included.
    """
    if text.strip()[:1] not in {"[", "{", '"', "'"}:
        return text
    try:
        return read_flow(text)
    except Unreadable:
        return text


def read_mapping(text: str) -> dict[str, object]:
    """Read several parameters from one text: a mapping in flow style, or in block style over several lines.

    :raises Unreadable: it is no mapping.
    """
    value = read_flow(text) if text.lstrip().startswith("{") else _read_block(text)
    if not isinstance(value, dict):
        raise Unreadable("expected a mapping such as {name: value}")
    return value


def _read_block(text: str) -> object:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise Unreadable(f"not YAML: {error}") from None
    return _from_node(node, text)


def _from_node(node: yaml.Node | None, text: str) -> object:
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return {str(_from_node(key, text)): _from_node(value, text) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return [_from_node(item, text) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}:
        return str(node.value)
    if node is None:
        return None
    # The source, not the node: PyYAML has folded lines and dropped tags and anchors.
    source = text[node.start_mark.index : node.end_mark.index].strip()
    return read_value(source) if source not in {"", "null"} else None


def include(value: object, read_file: Callable[[str], bytes]) -> object:
    """Replace each ``{< PATH}`` in the texts of a value by the file's content, unchanged.

    A file that is not UTF-8 becomes ``bytes``, if it is the whole value.

    :raises Unreadable: a file that is not UTF-8 stands inside other text.
    """
    if isinstance(value, dict):
        return {key: include(item, read_file) for key, item in value.items()}
    if isinstance(value, list):
        return [include(item, read_file) for item in value]
    if not isinstance(value, str) or "{<" not in value:
        return value
    if whole := _WHOLE_INCLUDE.fullmatch(value):
        return _text_or_bytes(read_file(whole[1]))
    return _INCLUDE.sub(lambda match: _only_text(match[1], read_file), value)


def _text_or_bytes(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _only_text(path: str, read_file: Callable[[str], bytes]) -> str:
    content = _text_or_bytes(read_file(path))
    if isinstance(content, bytes):
        raise Unreadable(f"{path} is not UTF-8 text and so must be the whole value: '\"{{< {path}}}\"'")
    return content


def guess(value: object) -> object:
    """Turn text into the truth value or number that it spells, also inside lists and dicts.

    Only when the number prints back as the same text: ``007``, ``18.10`` and ``1e3`` stay text.
    """
    if isinstance(value, dict):
        return {key: guess(item) for key, item in value.items()}
    if isinstance(value, list):
        return [guess(item) for item in value]
    if not isinstance(value, str):
        return value
    if _INTEGER.fullmatch(value) and value != "-0":
        return int(value)
    if _FLOAT.fullmatch(value) and repr(float(value)) == value:
        return float(value)
    return _WORDS.get(value, value)
