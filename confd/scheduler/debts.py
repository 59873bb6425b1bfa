"""Debts: commands that jobs owe nodes, kept as runtime records until they are done.

Those of a committed job are its settling commands, numbered from 0. Those of a job that went back are undos: that of
step ``n`` has the number ``-n``.
"""

from __future__ import annotations

from typing import Final

_DEBTS: Final = "settle/"


def is_debt(key: str) -> bool:
    """Tell whether a runtime record is a debt."""
    return key.startswith(_DEBTS)


def debt_key(job_id: str, number: int) -> str:
    """Return the key of the runtime record of a debt."""
    return f"{_DEBTS}{job_id}/{number}"


def job_of(debt: str) -> str:
    """Return the job that owes."""
    return debt.split("/")[1]


def command_key(debt: str) -> tuple[str, int]:
    """Return job id and number under which a debt is sent to its node.

    An undo has the same ones as when it is sent at once, so that the agent knows which command it undoes. The numbers
    of settling commands are those of steps, too, so their debt stands for the job.
    """
    _, job_id, number = debt.split("/")
    return (job_id, int(number)) if int(number) < 0 else (debt, 0)
