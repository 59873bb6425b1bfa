from __future__ import annotations

from pathlib import Path

import pytest

from confd.play.record import Play, PlayNode


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of plays of its own."""
    monkeypatch.setenv("CCC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make_play(home: Path, number: int = 1, play_id: str = "0a1b2c3d", nodes: tuple[int, ...] = (11, 12)) -> Play:
    """A play that was made and does not run."""
    directory = home / f"{number}_{play_id}"
    directory.mkdir(parents=True)
    play = Play(
        number=number, id=play_id, created=0.0, postgresql="18.4", engine=Path("/nowhere"),
        nodes=tuple(
            PlayNode(node=node, address=f"127.1.{number}.{node}", root=directory / f"n{node}", runtime=directory / f"r{node}")
            for node in nodes
        ),
        confd_port=20003, db_port=8563, database="Exasol", active=nodes,
    )  # fmt: skip
    play.save()
    return play
