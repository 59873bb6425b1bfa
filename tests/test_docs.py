"""The documents agree with the code."""

from __future__ import annotations

from pathlib import Path

from confd.cli.reference import pages
from confd.scheduler import registry

DOCS = Path(__file__).parent.parent / "docs"


def test_reference_pages_are_up_to_date() -> None:
    """docs/jobs is what ``make docs`` writes now."""
    written = {path.name: path.read_text() for path in (DOCS / "jobs").glob("*.md")}
    assert written == {Path(name).name: text for name, text in pages(registry.load()).items()}


def test_architecture_shows_a_job_in_under_fifteen_lines() -> None:
    """The example of adding a job in docs/architecture.md stays short, and is Python."""
    text = (DOCS / "architecture.md").read_text()
    example = text.split("```python\n", 1)[1].split("```", 1)[0]
    assert len(example.strip().splitlines()) < 15
    compile(example, "architecture.md", "exec")
