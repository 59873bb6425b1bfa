"""Plays that are not complete yet: whether somebody still makes them, and else what is missing and what to do."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from confd.model.errors import WrongState
from confd.play.presence import has_database
from confd.play.record import Maker, Play, Progress
from confd.services.database.keeper.processes import start_time

DATABASE: Final = "d"
"""The stage at which the database is up."""


def begin(play: Play) -> Play:
    """Return a play as it is while this process makes its files."""
    pid = os.getpid()
    return msgspec.structs.replace(play, progress=Progress.MAKING, maker=Maker(pid, start_time(pid)))


def is_being_made(play: Play) -> bool:
    """Tell whether the process that makes a play lives."""
    maker = play.maker
    return maker is not None and maker.started is not None and start_time(maker.pid) == maker.started


def missing(play: Play) -> str:
    """Say what nobody makes any more and what to do; empty when nothing is missing, or somebody is at it.

    A database that was made by hand instead counts.
    """
    if play.maker is None or is_being_made(play):
        return ""
    begun = f"play {play.number} is unfinished: c4 was ended before it had made"
    anew = f"delete the play (c4 rm -t {play.number}) and make it anew"
    if play.progress is Progress.MAKING:
        return f"{begun} all its files; {anew}"
    if play.database and play.progress is not Progress.FAILED and not has_database(play):
        return f"{begun} database {play.database}; make one with jobs (c4 connect -t {play.number}/cos), or {anew}"
    return ""


def check_files(play: Play) -> None:
    """Refuse a play whose files are not all there.

    :raises WrongState: says whether somebody makes them.
    """
    if play.progress is Progress.MAKING:
        raise WrongState(missing(play) or f"play {play.number} is being made; c4 wait -t {play.number} waits for it")


def check_stage(play: Play, stage: str) -> None:
    """Refuse to wait for a stage that a play does not reach, since nobody makes what is missing.

    :raises WrongState: says what to do.
    """
    if (why := missing(play)) and (play.progress is Progress.MAKING or stage == DATABASE):
        raise WrongState(why)
