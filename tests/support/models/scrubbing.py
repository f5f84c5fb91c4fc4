"""What a client printed, without what belongs to this machine, and short enough to keep."""

from __future__ import annotations

import json
import platform
import re
import socket
import sys
from pathlib import Path

from support.models.clients import ROOT
from support.models.wishes import Place

_MOST_LOOP = 8_000  # characters of a client that does the same for ever
_MOST_ERROR = 2_400


class Scrub:
    """Replaces what belongs to this machine and this run."""

    def __init__(self, place: Place, program: Path) -> None:
        tools = program.absolute().parents[2]
        self.ours = [
            str(place.repository.parent),
            place.repository.parent.name,
            str(tools),
            str(ROOT),
            f"{Path.home()}/",
        ]
        self.names = {
            place.url: "http://127.0.0.1:1",
            place.url.removeprefix("http://"): "127.0.0.1:1",
            str(place.repository): "/repo",
            str(place.home): "/home/agent",
            re.sub(r"[^A-Za-z0-9]", "-", str(place.repository)): "-repo",
            str(program.resolve().parent): "/clients",
            str(tools): "/clients",
            sys.base_prefix: "/usr",
            socket.gethostname(): "host",
            platform.release(): "6.1.0",
            platform.version(): "#1 SMP",
        }

    def __call__(self, text: str) -> str:
        for name, instead in self.names.items():
            text = text.replace(name, instead)
        left = [name for name in self.ours if name in text]
        assert not left, f"{left} is left in what was printed"
        return text


def cut_loop(text: str) -> str:
    return text if len(text) <= _MOST_LOOP else text[: text.rindex("\n", 0, _MOST_LOOP) + 1]


def cut_traceback(text: str) -> str:
    """The sources in a traceback make it long; what counts is how it begins and ends."""
    if len(text) <= _MOST_ERROR:
        return text
    begin, end = text.rindex("\n", 0, _MOST_ERROR // 2), text.index("\n", len(text) - _MOST_ERROR // 2)
    return f"{text[:begin]}\n[cut by record.py]{text[end:]}"


def in_short(text: str) -> str:
    """A trajectory without what it repeats: configuration, tracebacks, and each answer as the library saw it."""
    if not text:
        return ""
    trajectory = json.loads(text)
    trajectory["info"].pop("config", None)
    for message in trajectory["messages"]:
        for name in ("traceback", "response", "exception_str"):
            message.get("extra", {}).pop(name, None)
    return json.dumps(trajectory) + "\n"
