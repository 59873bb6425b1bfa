"""Secrets in parameters: sealed in the journal, hidden where people look."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from confd.model.secret import HIDDEN, Secret, Vault, is_sealed

_TELLING = re.compile(r"passw|passwd|secret|token|_key$|privatekey", re.IGNORECASE)


def seal(values: Mapping[str, Any], secret_names: frozenset[str], vault: Vault) -> dict[str, Any]:
    """Return values fit for the journal: secrets sealed, in mappings those with telling keys."""
    return _map_secrets(values, secret_names, lambda text: vault.seal(Secret(text)))


def unseal(values: Any, vault: Vault) -> Any:
    """Return journalled values as the caller gave them."""
    return _map_texts(values, lambda text: vault.open(text).reveal() if is_sealed(text) else text)


def hide(values: Any) -> Any:
    """Return journalled values for people: ``***`` for whatever is sealed."""
    return _map_texts(values, lambda text: HIDDEN if is_sealed(text) else text)


def hide_given(values: Mapping[str, Any], secret_names: frozenset[str]) -> dict[str, Any]:
    """Return values as given with secrets replaced by ``***``."""
    return _map_secrets(values, secret_names, lambda text: HIDDEN)


def telling(name: str) -> bool:
    """Tell whether a name says that its value is a secret."""
    return bool(_TELLING.search(name))


def _map_secrets(values: Mapping[str, Any], names: frozenset[str], change: Callable[[str], str]) -> dict[str, Any]:
    return {name: _deep(value, name in names, change) for name, value in values.items()}


def _deep(value: Any, secret: bool, change: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _deep(inner, secret or telling(str(key)), change) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deep(inner, secret, change) for inner in value]
    if not secret or value is None or isinstance(value, bool):
        return value
    return change(value if isinstance(value, str) else str(value))


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
