"""The result envelope: what every job ends with, in the form clients know."""

from __future__ import annotations

from typing import Any

import msgspec

from confd.model.errors import ConfDError, error_from

SUCCESS = "Success"


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended. ``code`` 0 is success; ``has_output`` tells None from no output.

    ``stale``: what was read may be out of date by so many seconds; None when it is what is so now.
    """

    code: int = 0
    message: str = SUCCESS
    output: Any = None
    has_output: bool = False
    revision: int | None = None
    warnings: tuple[str, ...] = ()
    stale: float | None = None

    @property
    def name(self) -> str:
        """``OK`` or the name of the error."""
        return "OK" if self.code == 0 else error_from(self.code, "").name

    def envelope(self, job_id: str) -> dict[str, Any]:
        """Return the dictionary that clients get; optional keys are left out when empty."""
        answer: dict[str, Any] = {
            "result_code": self.code,
            "result_name": self.name,
            "result_desc": self.message,
            "result_jobid": job_id,
        }
        if self.has_output:
            answer["result_output"] = self.output
        if self.revision is not None:
            answer["result_revision"] = self.revision
        if self.warnings:
            answer["result_warnings"] = list(self.warnings)
        if self.stale is not None:
            answer["result_stale"] = round(self.stale, 1)
        return answer


def success(output: Any = None, **more: Any) -> Outcome:
    """Return the outcome of a job that did what it promised; None means no output."""
    return Outcome(output=output, has_output=output is not None, **more)


def failure(error: ConfDError, warnings: tuple[str, ...] = ()) -> Outcome:
    """Return the outcome of a job that ended with an error."""
    return Outcome(code=error.code, message=error.message, warnings=warnings)
