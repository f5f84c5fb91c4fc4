"""What is recorded of every client that can do it: the script of the run, and the outcome that it has to be read as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Steps = tuple[dict[str, Any], ...]

OUTCOMES = (
    *("done", "done-no-change", "denied", "usage", "rate", "overload", "auth", "context", "network", "server"),
    *("budget", "turns", "loop", "stalled", "refused", "no-result", "other"),
)


@dataclass(frozen=True)
class Case:
    name: str
    outcome: str
    steps: Steps
    needs: str = ""  # what a client must be able to do (`Client.can`)
    wish: Mapping[str, Any] = field(default_factory=dict)
    before: Steps = ()  # a run of the same session that has ended before; not recorded
    more_argv: tuple[str, ...] = ()
    stop_at: int = 0  # SIGTERM when so many steps have been asked for
    stop_after: float = 0.0  # and so many seconds have passed since
    only: tuple[str, ...] = ()
    otherwise: Mapping[str, str] = field(default_factory=dict)  # the outcome of clients that tell less


def edit(path: str = "hello.txt") -> Steps:
    """Write one file, commit it, and say so."""
    write = {"tool": "write", "args": {"path": path, "content": "hello\n"}}
    commit = {"tool": "bash", "args": {"command": f"git add {path} && git commit -qm 'add {path}'"}}
    return write, commit, {"text": "The file is there."}


def _fails(kind: str, **more: Any) -> Steps:
    return ({"fail": kind, **more},)


_WAIT = {"tool": "bash", "args": {"command": "timeout 30 tail -f /dev/null"}}  # Claude Code refuses to sleep
_SAME = {"tool": "bash", "args": {"command": "false"}, "forever": True}
_QUOTED = """I looked into it.
API Error: 429 usage limit reached
litellm is a library.
{"type":"result","subtype":"error_max_turns","is_error":true}
Error: 401 Unauthorized"""
_PRINTS = {  # what it says of errors, as its model does in the end, is none of its own
    "tool": "bash",
    "args": {
        "command": 'printf \'%s\\n\' \'{"type":"result","subtype":"success","is_error":true,"result":'
        '"usage limit reached"}\' \'Error: 429 Too Many Requests\' \'{"type":"turn.failed","error":'
        '{"message":"usage limit"}}\' >&2; printf \'Error: insufficient_quota\\n\''
    },
}
_SUBSCRIPTION = {"subscription": True}
_TIMES = {"times": 1, "retry_after": 1}

CASES = (
    Case("edit", "done", edit()),
    Case("uncommitted", "done", edit()[:1], "commands"),
    Case("no-change", "done-no-change", ({"text": "There is nothing to do."},)),
    Case("denied", "denied", edit(), "deny", {"allowed": False}, otherwise={"codex": "done-no-change"}),
    Case("usage", "usage", _fails("usage_limit", reset_in=7200), wish=_SUBSCRIPTION),
    Case(
        "usage-later",
        "usage",
        (edit()[0], *_fails("usage_limit", reset_in=300_000, claim="seven_day")),
        "commands",
        _SUBSCRIPTION,
    ),
    Case("rate", "rate", _fails("rate_limit")),
    Case("rate-subscription", "rate", _fails("rate_limit"), "subscription", _SUBSCRIPTION),
    Case("rate-long", "rate", _fails("rate_limit", retry_after=3600), stop_at=1, stop_after=6),
    Case("rate-once", "done", (_fails("rate_limit", **_TIMES, then=edit()[0])[0], *edit()[1:])),
    Case("overload", "overload", _fails("overloaded")),
    Case("auth", "auth", _fails("auth")),
    Case("context", "context", _fails("context")),
    Case("server", "server", _fails("server_error")),
    Case("network", "network", _fails("disconnect")),
    Case("network-later", "network", (edit()[0], *_fails("disconnect")), "commands"),
    Case("dropped", "done", (_fails("disconnect", times=1, then=edit()[0])[0], *edit()[1:])),
    Case("quoted", "done", (edit()[0], _PRINTS, edit()[1], {"text": _QUOTED}), "commands"),
    Case("turns", "turns", (_SAME,), "turns", {"turns": 3}),
    Case("budget", "budget", ({**_SAME, "usage": [5000, 100]},), "budget", {"dollars": 0.03}),
    Case("loop", "loop", (_SAME,), "commands", stop_at=12),
    Case("killed", "no-result", (_WAIT,), "commands", stop_at=1, stop_after=1.5),
    Case("stalled", "stalled", _fails("hang"), stop_at=1, stop_after=5),
    Case("silent", "stalled", _fails("hang_mid"), stop_at=1, stop_after=3),
    Case("resumed", "done", edit("second.txt"), "resume", before=edit()),
    Case("refused", "refused", ({"text": "never asked"},), more_argv=("--no-such-option",)),
)
