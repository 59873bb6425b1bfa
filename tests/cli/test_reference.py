"""The reference pages."""

from __future__ import annotations

from pathlib import Path

from confd.cli.reference import pages, write
from confd.scheduler import registry


def test_every_job_is_described(tmp_path: Path) -> None:
    """Each job is in the list and on the page of its group, the same each time; old pages go."""
    (tmp_path / "gone.md").write_text("old")
    write(tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.glob("*.md")}
    assert written == pages(registry.load())
    for job in registry.load().values():
        assert f"[{job.name}]({job.group}.md#{job.name})" in written["README.md"]
        assert f"\n## {job.name}\n" in written[f"{job.group}.md"]
