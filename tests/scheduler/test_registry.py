"""A job is declared by its function; what callers send is matched against the signature."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from confd.model.errors import InvalidParameter, MissingParameter, UnknownJob, UnknownParameter
from confd.scheduler import registry
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, Allow, Job, Substitute, job

ROOT = Allow(users=("root",))


@pytest.fixture(autouse=True)
def declared(jobs: dict[str, Job]) -> dict[str, Job]:
    """Declare one job with everything."""

    @job(READ, allow=ROOT, substitutes=[Substitute("vid", "vname")])
    def volume_info(
        ctx: Any,
        vname: str | None,
        *,
        vid: int | None = None,
        expire: Annotated[str, Rule(aliases=("expire_time", "threshold"))] = "1w",
        password: Annotated[str, Rule(secret=True)] = "",
    ) -> None:
        """Describe a volume.

        A longer text
        in two lines.

        :param vname: name of
            the volume
        :param vid: its id
        :param expire: when it expires
        :param password: secret

        Examples:
        {vname: V1}
        {vid: 3, expire: 2w}
        """

    @job(MODIFY, allow=ROOT, substitutes=[Substitute("user_id", "user_name", number_wins=True)])
    def user_drop(ctx: Any, *, user_id: int | None = None, user_name: str | None = None) -> None:
        """Drop a user.

        :param user_id: his id
        :param user_name: his name
        """

    @job(READ, allow=ROOT)
    def plain(ctx: Any) -> None:
        """Do nothing."""

    return jobs


def test_texts_are_read_from_the_docstring() -> None:
    """Summary, longer text, parameters over several lines, examples."""
    known = registry.find("volume_info")
    assert (known.summary, known.description) == ("Describe a volume.", "A longer text\nin two lines.")
    assert known.parameters["vname"].description == "name of the volume"
    assert known.examples == ({"vname": "V1"}, {"vid": 3, "expire": "2w"})
    assert [name for name, one in known.parameters.items() if one.mandatory] == ["vname"]
    assert known.secrets == {"password"}
    assert known.substitute_table == {"vid": ["vname"], "vname": ["vid"]}


def test_the_nearest_name_is_told() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(UnknownJob, match=r"did you mean volume_info\?"):
        registry.find("volum_info")
    with pytest.raises(UnknownParameter, match=r"did you mean vname\?.*it takes vname, vid"):
        registry.find("volume_info").read({"vnam": "x"})
    with pytest.raises(UnknownParameter, match="takes no parameters"):
        registry.find("plain").read({"a": 1})


@pytest.mark.parametrize("name", [None, 5, ["x"], {"a": 1}, "x" * 100_000, "", "\x00"])
def test_any_name_is_answered(name: object) -> None:
    """A name that is none is an unknown job, in few words."""
    with pytest.raises(UnknownJob) as caught:
        registry.find(name)
    assert len(caught.value.message) < 300


def test_defaults_fill_what_is_left_out() -> None:
    """Every declared parameter has a value afterwards."""
    values = registry.find("volume_info").read({"vname": "V1"})
    assert values == {"vname": "V1", "vid": None, "expire": "1w", "password": ""}


def test_one_of_a_substitute_pair_is_given() -> None:
    """Neither and both are errors; None counts as left out."""
    known = registry.find("volume_info")
    assert known.read({"vid": "3"})["vid"] == 3
    assert known.read({"vid": 3, "vname": None})["vname"] is None
    with pytest.raises(InvalidParameter, match="both are given"):
        known.read({"vid": 3, "vname": "V1"})
    for nothing in ({}, {"vid": None}, {"vname": None}):
        with pytest.raises(MissingParameter, match="vid or vname"):
            known.read(nothing)


def test_a_number_may_win_over_a_name() -> None:
    """For the pairs whose documentation says so; both may be left out when both are optional."""
    known = registry.find("user_drop")
    assert known.read({"user_id": 3, "user_name": "ann"}) == {"user_id": 3, "user_name": None}
    assert known.read({}) == {"user_id": None, "user_name": None}


def test_older_names_are_accepted() -> None:
    """An alias means its parameter, but not both at once."""
    known = registry.find("volume_info")
    assert known.read({"vname": "V", "threshold": "3w"})["expire"] == "3w"
    for pair in (("threshold", "expire_time"), ("expire", "threshold")):
        with pytest.raises(InvalidParameter, match="means the same as expire"):
            known.read({"vname": "V", **dict.fromkeys(pair, "1w")})


def test_a_duplicate_is_refused() -> None:
    """Two functions of one name are a defect that shows at import."""
    with pytest.raises(ValueError, match="declared twice"):

        @job(READ, allow=ROOT)
        def plain(ctx: Any) -> None:
            """Do nothing again."""


def test_a_parameter_without_description_is_refused() -> None:
    """What clients see is complete."""
    with pytest.raises(ValueError, match="does not describe size"):

        @job(READ, allow=ROOT)
        def undescribed(ctx: Any, size: int) -> None:
            """Do something."""

    with pytest.raises(UnknownJob):
        registry.find("undescribed")
