"""What a prompt asks the fake model to do: `<<<SCRIPT [step, ...] SCRIPT>>>`, in JSON.

Which step is next follows from the conversation that a client sends: the last script that its user gave, and how often
the model has answered since. So clients run side by side without knowing of each other, and a session that is resumed
goes on where it was, or begins the script that its new prompt brings.

A step is one answer: `{"text": "..."}`, `{"tool": "bash", "args": {"command": "..."}}`, or both; `"usage": [1500, 25]`
are the tokens it costs, `"forever": true` at the last one repeats it. After the last step the model says "done".

A fault is an answer that fails: `{"fail": "rate_limit", "times": 2, "retry_after": 1, "then": STEP}`; without `times`
it never ends. How often it has failed is all that anybody counts (`Counts`): per script, step and session.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FAULTS = (
    "rate_limit",
    "overloaded",
    "usage_limit",
    "server_error",
    "auth",
    "context",
    "hang",  # no byte of an answer
    "hang_mid",  # the beginning of one, then silence
    "disconnect",  # the beginning of one, then the end of the connection
)
USAGE = (1500, 25)
_SCRIPT = re.compile(r"<<<SCRIPT(.*?)SCRIPT>>>", re.DOTALL)
_DONE = {"text": "done"}


class BadScript(ValueError):
    """The test is wrong: its script is not JSON, or has a step that nobody knows."""


@dataclass(frozen=True)
class Said:
    """One message of a conversation; `role` is user, assistant or tool, whatever the wire calls it."""

    role: str
    text: str = ""


@dataclass(frozen=True)
class Step:
    text: str = ""
    tool: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    usage: tuple[int, int] = USAGE


@dataclass(frozen=True)
class Fault:
    kind: str
    retry_after: float | None = None
    reset_in: float = 3600.0
    claim: str = "five_hour"  # which of the limits of a subscription it is


class Counts:
    """How often each fault has come; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_mended = False  # then nothing fails any more
        self._failed: Counter[tuple[str, int, str]] = Counter()

    def resolve(self, step: dict[str, Any], key: tuple[str, int, str]) -> Step | Fault:
        """The step itself, or its fault as long as that is to come; a fault is counted when it is given."""
        with self._lock:
            earlier = self._failed[key]
            while "fail" in step:
                if not self.is_mended and (step.get("times") is None or earlier < step["times"]):
                    self._failed[key] += 1
                    return _fault(step)
                earlier -= step.get("times") or 0
                step = step.get("then", _DONE)
        return _step(step)


def next_step(said: Sequence[Said]) -> tuple[str, int, dict[str, Any]]:
    """The script in force, the number of its next step and that step; a conversation without one is done."""
    for place in reversed(range(len(said))):
        found = _SCRIPT.findall(said[place].text) if said[place].role == "user" else []
        if found:
            steps = _parse(found[-1])
            answers = itertools.groupby(said[place + 1 :], lambda one: one.role == "assistant")
            number = sum(is_answer for is_answer, _ in answers)
            if number >= len(steps) and steps[-1].get("forever"):
                return found[-1], number, steps[-1]
            return found[-1], number, steps[number] if number < len(steps) else _DONE
    return "", 0, _DONE


def prompt(*steps: dict[str, Any], words: str = "Please do as the script says.") -> str:
    """A prompt that makes the model take these steps."""
    _parse(json.dumps(steps))
    return f"{words} <<<SCRIPT {json.dumps(steps)} SCRIPT>>>"


def _parse(text: str) -> list[dict[str, Any]]:
    try:
        steps = json.loads(text)
    except ValueError as error:
        raise BadScript(f"{text!r}: {error}") from error
    if not isinstance(steps, list) or not steps:
        raise BadScript(f"{text!r} is no list of steps")
    for step in steps:
        _fault(step) if "fail" in step else _step(step)
    return steps


def _step(step: dict[str, Any]) -> Step:
    if not {"text", "tool"} & step.keys():
        raise BadScript(f"{step!r} says nothing and does nothing")
    usage = step.get("usage", USAGE)
    return Step(step.get("text", ""), step.get("tool", ""), step.get("args", {}), (usage[0], usage[1]))


def _fault(step: dict[str, Any]) -> Fault:
    if step["fail"] not in FAULTS:
        raise BadScript(f"{step['fail']!r} is none of {FAULTS}")
    given = {name: step[name] for name in ("retry_after", "reset_in", "claim") if name in step}
    return Fault(step["fail"], **given)
