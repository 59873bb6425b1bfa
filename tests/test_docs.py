"""The documents agree with the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.cli.reference import pages
from confd.jobs import users
from confd.scheduler import registry
from tests.cluster.documented import blocks, sections
from tests.jobs.stage import Stage

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A cluster of three nodes."""
    return Stage(tmp_path)


def test_reference_pages_are_up_to_date() -> None:
    """docs/jobs is what ``make docs`` writes now."""
    written = {path.name: path.read_text() for path in (DOCS / "jobs").glob("*.md")}
    assert written == {Path(name).name: text for name, text in pages(registry.load()).items()}


def test_architecture_shows_a_job_in_under_fifteen_lines(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of adding a job in docs/architecture.md is short, and all of what a job of users.py is made of."""
    text = (DOCS / "architecture.md").read_text()
    example = text.split("```python\n", 1)[1].split("```", 1)[0]
    assert len(example.strip().splitlines()) < 15
    known = set(registry.load())
    monkeypatch.setattr(registry, "_JOBS", registry.load())
    exec(compile(example, "architecture.md", "exec"), dict(vars(users)))
    (added,) = (job for name, job in registry.load().items() if name not in known)
    assert (added.own, added.group, bool(added.examples)) == (True, "users", True)
    assert added.summary in "".join(pages(registry.load()).values())
    stage.run(added.name, **added.examples[0])
    assert not stage.conf.users["ann"].login_enabled


def taken_blocks(source: str) -> Iterator[tuple[str, int]]:
    """Give the blocks of docs/operations.md that a test gives a name: section and number in it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=names)],
                value=ast.Call(func=ast.Name(id="blocks"), args=[ast.Constant(value=str(section))]),
            ):
                unused = [isinstance(name, ast.Name) and name.id == "_" for name in names]
                yield from ((section, number) for number, skipped in enumerate(unused) if not skipped)


def test_every_procedure_of_operations_is_run_by_a_test() -> None:
    """Each block of commands is taken from the document by a test, so that neither can change without the other."""
    sources = [path.read_text() for path in TESTS.rglob("test_*.py")]
    taken = {block for source in sources for block in taken_blocks(source)}
    assert taken == {(section, number) for section in sections() for number, _ in enumerate(blocks(section))}
