"""Which version leads, and when a master is in the way of another one."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leading.eligibility import forsaken, leading_version, outvoted

VERSIONS = st.sampled_from(["0.9", "1.0", "1.1", ""])
SOFTWARE = st.dictionaries(st.integers(11, 20), VERSIONS, min_size=1)


@given(SOFTWARE, VERSIONS)
def test_some_version_leads_and_no_other_one_could_have_a_quorum(software: dict[int, str], last: str) -> None:
    """All who ask agree; of equals the last master's leads."""
    version = leading_version(software.values(), last)
    counts = Counter(software.values())
    free = {node for node in software if not outvoted(node, software, last)}
    assert free == {node for node, theirs in software.items() if theirs == version} != set()
    for other in counts.keys() - {version}:
        assert counts[other] <= counts[version]
        assert 2 * counts[other] <= len(software)
    if counts[last] == max(counts.values()):
        assert version == last


@given(SOFTWARE, VERSIONS, VERSIONS, st.permutations(range(11, 21)))
def test_node_after_node_comes_to_a_new_version(software: dict[int, str], old: str, new: str, order: list[int]) -> None:
    """At every step somebody may lead, with a quorum unless the versions are even; at the end all may."""
    present = dict.fromkeys(software, old)
    for node in [node for node in order if node in present]:
        del present[node]
        if present:
            assert leading_version(present.values(), old) in (old, new)
        present[node] = new
        leading = leading_version(present.values(), old)
        following = [one for one, theirs in present.items() if theirs == leading]
        even = 2 * len(following) == len(present)
        assert even or 2 * len(following) > len(present)
        # Who led before gives way as soon as the others have the majority.
        others = [one for one, theirs in present.items() if theirs != leading]
        assert forsaken(present, others, present) is (not even)
    assert not any(outvoted(node, present, old) for node in present)


@given(SOFTWARE, st.sets(st.integers(11, 20)), st.sets(st.integers(11, 20)))
def test_a_master_gives_way_only_to_a_quorum(software: dict[int, str], voting: set[int], following: set[int]) -> None:
    """Never one that has it, never for nodes that could not have it either."""
    if forsaken(voting, following, software):
        assert 2 * len(voting & following) <= len(voting)
        counted = Counter(software[node] for node in voting & software.keys())
        assert any(2 * count > len(voting) for count in counted.values())
    else:
        assert not forsaken(voting, following | voting, software)


@given(SOFTWARE)
def test_who_is_told_to_lead_is_refused_only_when_it_is_outnumbered(software: dict[int, str]) -> None:
    """Of equals each may, and so may one that is alone; whoever is refused could not have a quorum."""
    counts = Counter(software.values())
    for node, own in software.items():
        outnumbered = counts[own] < max(counts.values())
        assert bool(outvoted(node, software, own)) is outnumbered
        assert not outnumbered or 2 * counts[own] < len(software)
        assert not outvoted(node, {node: own}, own)


def test_one_that_may_not_lead_says_what_to_do() -> None:
    """In the words of NO_MASTER."""
    assert outvoted(12, {12: "1.1", 13: "1.0"}, "1.0") == (
        "n12 runs OpenConfD 1.1, and the next master is one of the nodes that run 1.0 (n13); install the same version "
        "on all nodes"
    )
    assert outvoted(12, {12: "1.1", 13: ""}, "").endswith(
        "that run an older version (n13); install the same version on all nodes"
    )
    assert outvoted(12, {12: "1.1"}, "1.0") == outvoted(12, {13: "1.0"}, "1.0") == ""
