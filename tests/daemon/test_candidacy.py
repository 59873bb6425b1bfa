"""What a node says while etcd does not let it be a candidate."""

from __future__ import annotations

import pytest

from confd.daemon.candidacy import what_to_do
from confd.store.etcd.errors import EtcdDenied, EtcdError, EtcdUncertain, EtcdUnreachable, error_from


@pytest.mark.parametrize("error", [EtcdUnreachable("etcd does not answer"), EtcdUncertain("gave no answer")])
def test_a_lost_majority_is_brought_back_or_gone_on_from(error: EtcdError) -> None:
    """Only then it may be lost for good."""
    assert what_to_do(error).startswith(f"{error}; without etcd nobody is master: bring its members back")
    assert "c4 store recover --yes-others-are-down" in what_to_do(error)


@pytest.mark.parametrize("error", [error_from(8, "etcdserver: mvcc: database space exceeded"), EtcdDenied("no")])
def test_an_etcd_that_answers_needs_no_survivor(error: EtcdError) -> None:
    """Full or closed to us: the error itself says what helps, and going on alone would only lose members."""
    assert what_to_do(error) == str(error)
    assert "recover" not in what_to_do(error)
