"""The tools of a script, `bash`, `write` and `read`, in the names and arguments of the client that offers them.

A client without a tool for it does it in its shell; one that does not offer even that is asked all the same, by the
name that it would have (a model may try what it is denied). A tool of any other name goes to the client as it stands.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection
from typing import Any

Args = dict[str, Any]

_WHY = "What the script says"
_SHELLS: dict[str, Callable[[str], Args]] = {
    "Bash": lambda command: {"command": command, "description": _WHY},  # Claude Code
    "exec_command": lambda command: {"cmd": command},  # Codex
    "shell_command": lambda command: {"command": command},  # Codex, other models
    "shell": lambda command: {"command": ["bash", "-c", command]},  # Codex, other models
    "run_shell_command": lambda command: {"command": command, "description": _WHY},  # Gemini CLI
    "bash": lambda command: {"command": command, "description": _WHY},  # opencode, mini-swe-agent
}
_WRITERS: dict[str, Callable[[str, str], Args]] = {
    "Write": lambda path, content: {"file_path": path, "content": content},
    "write_file": lambda path, content: {"file_path": path, "content": content},
    "write": lambda path, content: {"filePath": path, "content": content},
}
_READERS: dict[str, Callable[[str], Args]] = {
    "Read": lambda path: {"file_path": path},
    "read_file": lambda path: {"file_path": path},
    "read": lambda path: {"filePath": path},
}
_DENIED = {"Read": ("Write", "Bash"), "read_file": ("write_file", "run_shell_command"), "read": ("write", "bash")}


def called(tool: str, args: Args, offered: Collection[str]) -> tuple[str, Args]:
    """The name and the arguments with which the client that offers `offered` knows this call."""
    if tool in {"write", "bash"} and not {*_SHELLS, *_WRITERS} & {*offered}:
        reader = next((name for name in _DENIED if name in offered), "read")
        offered = _DENIED[reader]
    if tool == "write":
        for name, write in _WRITERS.items():
            if name in offered:
                return name, write(args["path"], args["content"])
        return _shell(f"printf %s {shlex.quote(args['content'])} > {shlex.quote(args['path'])}", offered)
    if tool == "read":
        for name, read in _READERS.items():
            if name in offered:
                return name, read(args["path"])
        return _shell(f"cat {shlex.quote(args['path'])}", offered)
    if tool == "bash":
        return _shell(args["command"], offered)
    return tool, args


def _shell(command: str, offered: Collection[str]) -> tuple[str, Args]:
    name = next((name for name in _SHELLS if name in offered), "bash")
    return name, _SHELLS[name](command)
