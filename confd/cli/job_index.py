"""What shells complete, by job: kept in a file, because loading all jobs takes longer than a key press may."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from confd import __version__


class ParameterHint(msgspec.Struct, frozen=True):
    """A parameter: its description, whether it takes a number, a closed set of values, a kind of live names."""

    text: str
    number: bool = False
    choices: tuple[str, ...] = ()
    live: str | None = None


class JobHint(msgspec.Struct, frozen=True):
    """A job: its summary and parameters."""

    summary: str
    parameters: dict[str, ParameterHint] = {}


Index = dict[str, JobHint]


def job_index() -> Index:
    """Return all jobs this program knows."""
    file = _file()
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(file.read_bytes(), type=Index)
    index = _from_registry()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        fresh.write_bytes(msgspec.json.encode(index))
        fresh.replace(file)
    return index


def _file() -> Path:
    """Name the file after the state of the software, so that an old one is not read."""
    jobs = Path(__file__).parent.parent / "jobs"
    changed = max((entry.stat().st_mtime_ns for entry in os.scandir(jobs) if entry.is_file()), default=0)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "openconfd" / f"jobs-{__version__}-{changed}.json"


def _from_registry() -> Index:
    from confd.scheduler import registry

    return {
        name: JobHint(
            job.summary,
            {
                known.name: ParameterHint(known.description, "int" in known.types or _of_numbers(known.rules),
                                          _choices(known), known.live)
                for known in job.parameters.values()
            },
        )
        for name, job in registry.load().items()
    }  # fmt: skip


def _of_numbers(rules: tuple[object, ...]) -> bool:
    return any("int" in getattr(rule, "items", ()) for rule in rules)


def _choices(parameter: object) -> tuple[str, ...]:
    if "bool" in getattr(parameter, "types", ()):
        return ("true", "false")
    return tuple(map(str, getattr(parameter, "choices", ())))
