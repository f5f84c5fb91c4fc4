"""How fast what programs print is read: MB/s on one core for each dialect, of streams like those that they print.

`python benchmarks/dialects.py [--megabytes 20]`. Wanted are 50 MB/s: twelve programs that print as fast as they can
then take less than a core. Printed are the reading alone, and the reading with the story that the runner makes of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from parallel_loop.harness.dialects.dialect import Dialect
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.dialects.table import BY_NAME

PROSE = "I have looked at the tests and at what they say of the function; two of them fail, for one reason. " * 6
OUTPUT = "\n".join(f"src/module_{n}.py:{n}: what a search prints, 80 characters of a line or so" for n in range(40))
EDIT = {"file_path": "/repo/src/module.py", "old_string": OUTPUT[:700], "new_string": OUTPUT[:800]}
USAGE = {
    "input_tokens": 1500,
    "output_tokens": 250,
    "cache_read_input_tokens": 90_000,
    "cache_creation_input_tokens": 9,
}
COMMAND = "/bin/bash -lc 'git grep -n what | head -40'"


def claude(n: int) -> list[dict[str, Any]]:
    """One turn: words, a call, what came of it, and what the session wraps around each."""
    wrap = {"parent_tool_use_id": None, "session_id": "598cb419-3b9f-49f5-b257-e2a602f86dd3", "uuid": f"uuid-{n}"}
    message = {"model": "m", "id": f"msg_{n}", "type": "message", "role": "assistant", "usage": USAGE}
    call = {"type": "tool_use", "id": f"toolu_{n}", "name": "Edit", "input": EDIT}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": OUTPUT, "is_error": False}
    return [
        {"type": "assistant", "message": message | {"content": [{"type": "text", "text": PROSE}]}} | wrap,
        {"type": "assistant", "message": message | {"content": [call]}} | wrap,
        {"type": "user", "message": {"role": "user", "content": [result]}, "tool_use_result": {"stdout": OUTPUT}}
        | wrap,
    ]


def codex(n: int) -> list[dict[str, Any]]:
    """One turn of `codex exec --json`."""
    item = {"id": f"item_{n}", "type": "command_execution", "command": COMMAND, "aggregated_output": ""}
    ended = item | {"aggregated_output": OUTPUT, "exit_code": 0, "status": "completed"}
    return [
        {"type": "item.completed", "item": {"id": f"item_{n}r", "type": "reasoning", "text": PROSE}},
        {"type": "item.started", "item": item | {"exit_code": None, "status": "in_progress"}},
        {"type": "item.completed", "item": ended},
        {"type": "item.completed", "item": {"id": f"item_{n}m", "type": "agent_message", "text": PROSE}},
    ]


def gemini(n: int) -> list[dict[str, Any]]:
    """One turn, its words in pieces."""
    stamp, name = "2026-11-28T08:18:44.128Z", f"run_shell_command__call_{n}"
    piece = {"type": "message", "timestamp": stamp, "role": "assistant", "content": PROSE[:200], "delta": True}
    call = {"type": "tool_use", "timestamp": stamp, "tool_name": "run_shell_command", "tool_id": name}
    ended = {"type": "tool_result", "timestamp": stamp, "tool_id": name, "status": "success", "output": OUTPUT}
    return [*[piece] * 5, call | {"parameters": {"command": COMMAND}}, ended]


def opencode(n: int) -> list[dict[str, Any]]:
    """One step of `opencode run --format json`."""
    ids = {"id": f"prt_{n}", "sessionID": "ses_ddec290d5ffeqawe5BLy5mKdxB", "messageID": f"msg_{n}"}
    state = {"status": "completed", "input": {"command": COMMAND}, "output": OUTPUT, "metadata": {"exit": 0}}
    tokens = {"total": 1525, "input": 1500, "output": 25, "reasoning": 0, "cache": {"write": 0, "read": 0}}
    wrap = {"timestamp": 1795854006329, "sessionID": ids["sessionID"]}
    return [
        {"type": "step_start", "part": ids | {"type": "step-start"}} | wrap,
        {"type": "text", "part": ids | {"type": "text", "text": PROSE}} | wrap,
        {"type": "tool_use", "part": ids | {"type": "tool", "tool": "bash", "callID": f"c{n}", "state": state}} | wrap,
        {"type": "step_finish", "part": ids | {"reason": "tool-calls", "tokens": tokens, "cost": 0.01}} | wrap,
    ]


def cursor(n: int) -> list[dict[str, Any]]:
    """One turn, its thoughts in pieces that nobody needs."""
    wrap = {"session_id": "SESSION", "model_call_id": f"mc-{n}", "timestamp_ms": 1789621812452}
    call = {"shellToolCall": {"args": {"command": COMMAND, "toolCallId": f"t{n}"}}, "toolCallId": f"t{n}"}
    ended = {"shellToolCall": {"result": {"success": {"exitCode": 0, "stdout": OUTPUT}}}, "toolCallId": f"t{n}"}
    return [
        *[{"type": "thinking", "subtype": "delta", "text": PROSE[:60]} | wrap] * 5,
        {"type": "assistant", "message": {"content": [{"type": "text", "text": PROSE}]}} | wrap,
        {"type": "tool_call", "subtype": "started", "call_id": f"t{n}", "tool_call": call} | wrap,
        {"type": "tool_call", "subtype": "completed", "call_id": f"t{n}", "tool_call": ended} | wrap,
    ]


def printed(n: int) -> str:
    """What programs print for people, of which hardly a line means anything."""
    return (
        f"mini-swe-agent (step {n}, $0.01):\n{PROSE}\n```\n{COMMAND}\n```\n{OUTPUT}\nTokens: 1.5k sent, 25 received.\n"
    )


STREAMS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "claude": claude,
    "codex": codex,
    "gemini": gemini,
    "opencode": opencode,
    "cursor": cursor,
}


def stream(name: str, megabytes: float) -> list[bytes]:
    """Return lines of that many megabytes as the program of that dialect prints them."""
    lines, size, n = list[bytes](), 0, 0
    while size < megabytes * 1e6:
        n += 1
        if name in STREAMS:
            turn = [json.dumps(line, separators=(",", ":")).encode() for line in STREAMS[name](n)]
        else:
            turn = printed(n).encode().split(b"\n")
        lines += turn
        size += sum(map(len, turn))
    return lines


def seconds(dialect: Dialect, lines: list[bytes], story: Story | None) -> float:
    """Return how long reading takes, the best of three times."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for line in lines:
            for event in dialect.read(line, 1.8e9):
                if story is not None:
                    story.take(event)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print a line for each dialect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=20.0)
    megabytes = parser.parse_args().megabytes
    print(f"{'dialect':12} {'bytes a line':>12} {'read MB/s':>10} {'with story':>10}")
    for name, dialect in BY_NAME.items():
        lines = stream(name, megabytes)
        size = sum(map(len, lines)) / 1e6
        alone, told = (size / seconds(dialect, lines, story) for story in (None, Story()))
        print(f"{name:12} {size * 1e6 / len(lines):12.0f} {alone:10.0f} {told:10.0f}")


if __name__ == "__main__":
    main()
