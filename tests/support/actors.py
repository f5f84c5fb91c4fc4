"""Programs that play what the prompts of their items say: programs/actor.py."""

from __future__ import annotations

import json
from typing import Any

from support.harness import program


def actor(**keys: object) -> str:
    """What the configuration says of such a program; it needs ACTOR_HOME, or `env` that has it."""
    argv = [*program("actor"), "{options}"]
    begins, goes_on = [*argv, "--session-id", "{session}"], [*argv, "--resume", "{session}"]
    return json.dumps({"argv": begins, "resume": goes_on, "session": "chosen", "dialect": "claude"} | keys)


def script(*steps: dict[str, Any]) -> str:
    """The prompt of an item that is these steps."""
    return f"Do it.\n<<<SCRIPT {json.dumps(steps)} SCRIPT>>>"
