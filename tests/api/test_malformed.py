"""Errors and limits that both protocols share."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from confd.api.malformed import Limits, MalformedCall


def test_a_large_body_suggests_its_status() -> None:
    """A body beyond the limit is 413, anything else malformed 400."""
    with pytest.raises(MalformedCall) as caught:
        Limits(max_bytes=3).check_size(b"1234")
    assert caught.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert MalformedCall("x").status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("method", ["", "m" * 129])
def test_a_method_needs_a_sensible_name(method: str) -> None:
    """An empty or endless name is refused."""
    with pytest.raises(MalformedCall):
        Limits().check_method(method)
