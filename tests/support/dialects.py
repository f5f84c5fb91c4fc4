"""What a program printed, read as its dialect says, and what that comes to."""

from __future__ import annotations

import json
from typing import Any

from parallel_loop.harness.dialects.events import AnyEvent
from parallel_loop.harness.dialects.replay import tell
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.dialects.table import BY_NAME
from parallel_loop.harness.dialects.verdict import outcome_word

NOW = 1_795_000_000.0


def both(dialect: str, *lines: dict[str, Any] | str, document: Any = None) -> tuple[list[AnyEvent], Story]:
    """The events of these lines and of the document at the end, and their story."""
    output = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    return tell(BY_NAME[dialect], output, None if document is None else json.dumps(document).encode(), NOW)


def read(dialect: str, *lines: dict[str, Any] | str, document: dict[str, Any] | None = None) -> Story:
    return both(dialect, *lines, document=document)[1]


def word(dialect: str, story: Story, exit_code: int = 0) -> str:
    return outcome_word(story, BY_NAME[dialect], exit_code)
