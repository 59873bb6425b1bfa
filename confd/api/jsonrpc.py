"""JSON calls (``POST /jrpc``) mapped to the positional calls of XML-RPC."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from confd.api.malformed import NOT_WELL_FORMED, Call, Limits, MalformedCall
from confd.model.secret import HIDDEN, Secret

__all__ = ["Call", "Limits", "MalformedCall", "decode_call", "encode"]

_KEYS: Final = {"method", "job", "job_id", "params", "args"}
# Methods whose parameters are positional in XML-RPC but named in JSON.
_NAMED: Final = {"user_login": ("name", "password"), "unsubscribe": ("cursor",)}
# A string counts as one token, so that brackets inside it do not.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{\]},]', re.DOTALL)
_QUOTE: Final = ord('"')
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"
_LONG = re.compile(rb"[0-9]{19}")
_INT64: Final = 2**63
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_call(body: bytes, limits: Limits) -> Call:
    """Read a call such as ``{"method": "job_exec", "job": "db_list", "params": {"params": {}}}``.

    =====================================  ==========================================
    keys beside ``method``                 positional arguments
    =====================================  ==========================================
    ``args``: a list                       its elements; goes with no other key
    ``job``, ``params``                    job, params (``job_exec``, ``job_start``)
    ``job``                                job (``job_desc``, ``job_help``)
    ``job_id``, ``params``                 job id, params (``job_wait``)
    ``job_id``                             job id (``job_result``, ``job_finished``)
    ``job_id`` with ``job_info``           ``{"job_id": job id}``
    ``params`` with ``subscribe``          params
    ``params`` with ``user_login``         its ``name`` and ``password``
    ``params`` with ``unsubscribe``        its ``cursor``
    none                                   none (``job_list``, ``user_state``, ...)
    =====================================  ==========================================

    ``params`` are the options of the method; the parameters of a job are one level below, in
    ``{"params": {...}}``, beside ``dry_run`` and ``timeout``. ``null`` counts as left out, a whole number beyond
    64 bits as its text.

    :raises MalformedCall: the body is no such object, or is beyond a limit.
    """
    limits.check_size(body)
    _check_shape(body, limits)
    fields = _decode(body)
    method = fields.get("method")
    if not isinstance(method, str):
        raise MalformedCall('the key "method" is missing or is not text')
    limits.check_method(method)
    unknown = sorted(fields.keys() - _KEYS)
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise MalformedCall(f"unknown key {unknown[0][:80]!r}; known are {known}")
    return Call(method, _arguments(method, fields))


def _check_shape(body: bytes, limits: Limits) -> None:
    """Count brackets and commas before parsing: a hostile body is refused while it is only bytes."""
    opened = body.count(b"[") + body.count(b"{")
    if opened <= limits.max_depth and opened + body.count(b",") < limits.max_values:
        return
    depth = values = strings = 0
    for match in _TOKEN.finditer(body):
        token = body[match.start()]
        if token == _QUOTE:
            strings += 1
        elif token in _CLOSING:
            depth -= 1
        else:
            values += 1
            depth += token in _OPENING
        if depth > limits.max_depth:
            raise limits.too_deep()
        # A valid object has a name and perhaps a string for each value.
        if values > limits.max_values or strings > 2 * limits.max_values:
            raise limits.too_many()
        if depth < 0:
            return  # not JSON; the parser says where


def _decode(body: bytes) -> dict[str, object]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedCall(f"not JSON in UTF-8: {error}", fault=NOT_WELL_FORMED) from None
    if not isinstance(fields, dict):
        raise MalformedCall('a call is a JSON object with the key "method"')
    if _LONG.search(body):
        # Between nodes such a number could not travel; as text every node refuses it, or takes it as text, alike.
        fields = _with_long_as_text(fields)
    return {key: value for key, value in fields.items() if value is not None}


def _with_long_as_text(value: Any) -> Any:
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value)
    if isinstance(value, dict):
        return {key: _with_long_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_long_as_text(item) for item in value]
    return value


def _arguments(method: str, fields: dict[str, object]) -> tuple[object, ...]:
    if "args" in fields:
        return _positional(fields)
    params = fields.get("params")
    if params is not None and not isinstance(params, dict):
        raise MalformedCall('"params" must be an object; positional arguments go into "args"')
    if params is not None and method in _NAMED:
        return _unpack(method, params)
    target = _target(fields)
    if method == "job_info" and target:
        return ({"job_id": target[0]},)
    return (*target, params) if params is not None else target


def _positional(fields: dict[str, object]) -> tuple[object, ...]:
    args = fields["args"]
    if not isinstance(args, list):
        raise MalformedCall('"args" must be a list of the positional arguments')
    if len(fields) > len({"method", "args"}):
        raise MalformedCall('"args" holds all arguments; leave out the keys job, job_id and params')
    return tuple(args)


def _target(fields: dict[str, object]) -> tuple[str, ...]:
    target = tuple(fields[key] for key in ("job", "job_id") if key in fields)
    if len(target) > 1:
        raise MalformedCall('give either "job" (a name) or "job_id", not both')
    if target and not isinstance(target[0], str):
        raise MalformedCall('"job" and "job_id" must be text')
    return tuple(str(name) for name in target)


def _unpack(method: str, params: dict[str, object]) -> tuple[object, ...]:
    names = _NAMED[method]
    if set(params) != set(names):
        raise MalformedCall(f'{method} takes "params" with exactly the keys {", ".join(names)}')
    return tuple(params[name] for name in names)


def _other(value: object) -> object:
    """Turn what msgspec does not know into what it does: masked secrets, subclasses of text and numbers."""
    if isinstance(value, Secret):
        return HIDDEN
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    message = f"cannot send a value of type {type(value).__name__}"
    raise TypeError(message)


_ENCODER = msgspec.json.Encoder(enc_hook=_other)


def encode(value: object) -> bytes:
    """Write a result: bytes as base64 text, dates as ISO text, keys as text, enums as their values.

    :raises TypeError: a value of a type that no client could read; a defect of the caller.
    """
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        # Only now, because it is rare: names of files that are not UTF-8 hold lone surrogates.
        return _ENCODER.encode(_without_surrogates(value))


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value
