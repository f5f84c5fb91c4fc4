"""What real programs printed, recorded, and what it has to be read as (`tests/transcripts`, `make transcripts`).

A folder that names a version has runs of another version than `clients.py` names, as far as they differ in more than
words; they were recorded in the same way, with the arguments that this version has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.harness.configuration.presets import PRESETS
from parallel_loop.harness.dialects.dialect import Dialect
from parallel_loop.harness.dialects.events import AnyEvent
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.dialects.table import BY_NAME
from parallel_loop.harness.dialects.verdict import find

FOLDER = Path(__file__).parent / "transcripts"
# What our runner decides, not the transcript: it was ended because it said nothing for too long.
BY_THE_RUNNER = {"stalled": {"no-result", "rate", "network", "overload", "server"}}

UNSAID = {  # by the program, in any way
    "codex-denied": {
        "done"
    },  # commands that its sandbox stops at once are no events: nothing was changed, is all we see
    "aider-refused": {"done"},  # what is not understood is no event: its exit code says it
    "aider-stalled": {"done"},  # nothing says that there was more to come: the runner knows that it ended it
    "aider-silent": {"done"},
    "mini-loop": {"no-result"},  # its steps are told in text for people
    "mini-turns": {"turns", "budget"},  # which of its limits it was is in the configuration, which is not recorded
}


def cases() -> Iterator[Any]:
    for listing in sorted(FOLDER.glob("*/cases.json")):
        for name, case in json.loads(listing.read_text()).items():
            yield pytest.param(listing.parent, name, case, id=f"{listing.parent.name}-{name}")


def dialect_of(folder: Path) -> Dialect:
    return BY_NAME[PRESETS[client_of(folder)]["dialect"]]


def client_of(folder: Path) -> str:
    return folder.name.partition("-")[0]


def events_of(dialect: Dialect, output: bytes, now: float = 0.0) -> list[AnyEvent]:
    return [event for line in output.splitlines() for event in dialect.read(line, now)]


def replay(folder: Path, name: str, now: float) -> Story:
    """Read a recorded run: standard output, then standard error, then what was written at the end."""
    dialect, story = dialect_of(folder), Story()
    for ending in ("jsonl", "txt", "err"):
        path = folder / f"{name}.{ending}"
        for event in events_of(dialect, path.read_bytes(), now) if path.exists() else ():
            story.take(event)
    path = folder / f"{name}.json"
    for event in dialect.read_document(path.read_bytes(), now) if path.exists() else ():
        story.take(event)
    return story


@pytest.mark.parametrize(("folder", "name", "case"), list(cases()))
def test_outcome(folder: Path, name: str, case: dict[str, Any]) -> None:
    story = replay(folder, name, case["ended_at"])
    finding = find(story, dialect_of(folder), case["exit_code"])
    word = "done" if finding is None else finding.word
    expected = case["outcome"].removesuffix("-no-change")
    assert word in (UNSAID.get(f"{folder.name}-{name}") or BY_THE_RUNNER.get(expected) or {expected}), finding
    if case.get("session"):
        assert story.session == case["session"]
    if case.get("resets_at") and client_of(folder) in {"claude", "codex"}:  # the others keep it to themselves
        assert finding is not None
        assert finding.resets_at == pytest.approx(case["resets_at"], abs=61)
    if case["outcome"].startswith("done"):
        assert story.usage()


@pytest.mark.parametrize(
    "path",
    [path for name in ("edit", "usage") for path in sorted(FOLDER.glob(f"*/{name}.jsonl"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_stream_that_is_cut_anywhere_says_the_same_up_to_there(path: Path) -> None:
    """Of JSON objects: words that are cut may well say something else."""
    dialect, data = dialect_of(path.parent), path.read_bytes()
    whole = events_of(dialect, data)
    assert whole
    for end in range(0, len(data), max(1, len(data) // 50)):
        cut = events_of(dialect, data[:end])
        assert cut == whole[: len(cut)]
