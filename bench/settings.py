"""How much is measured: in full, or quickly to see whether it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Rounds, seconds and counts of all measures."""

    rounds: int = 7
    seconds: float = 4.0
    latency_seconds: float = 5.0
    runs: int = 5
    failovers: int = 10
    history: int = 100_000
    idle_seconds: float = 5.0


FULL = Settings()
QUICK = Settings(rounds=2, seconds=1.0, latency_seconds=1.0, runs=2, failovers=2, history=5_000, idle_seconds=2.0)
