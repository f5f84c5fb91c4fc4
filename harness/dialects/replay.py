"""Show what is read out of what a program printed: `python -m parallel_loop.harness.dialects.replay claude FILE`.

Prints each event as a line of JSON, then what the run came to. For people who wonder at an outcome, and have its log.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from .dialect import Dialect
from .events import AnyEvent
from .story import Story
from .table import BY_NAME
from .verdict import find, outcome_word


def tell(dialect: Dialect, output: bytes, document: bytes | None, now: float) -> tuple[list[AnyEvent], Story]:
    """Return what a program said, and the story that it makes. `now` is when it said that."""
    story = Story()
    events = [event for line in output.split(b"\n") for event in dialect.read(line, now)]
    if document is not None:
        events.extend(dialect.read_document(document, now))
    for event in events:
        story.take(event)
    return events, story


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the events, and the outcome as the last line."""
    parser = argparse.ArgumentParser(prog="python -m parallel_loop.harness.dialects.replay", description=__doc__)
    parser.add_argument("dialect", choices=sorted(BY_NAME))
    parser.add_argument("file", type=Path, help="what the program printed")
    parser.add_argument("--exit-code", type=int, help="what it ended with, negative for a signal")
    parser.add_argument("--result-file", type=Path, help="the file into which it wrote its result")
    parser.add_argument("--now", type=float, default=time.time(), help="when it ran, in seconds since 1970")
    given = parser.parse_args(None if arguments is None else list(arguments))
    dialect = BY_NAME[given.dialect]
    try:
        document = given.result_file.read_bytes() if given.result_file is not None else None
        events, story = tell(dialect, given.file.read_bytes(), document, given.now)
    except OSError as error:
        print(f"cannot read {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    encode = msgspec.json.Encoder().encode
    for event in events:
        print(encode(event).decode())  # noqa: T201
    told = {
        "outcome": outcome_word(story, dialect, given.exit_code),
        "finding": find(story, dialect, given.exit_code),
        "usage": story.usage(),
        "steps": story.steps,
        "session": story.session,
    }
    print(encode(told).decode())  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
