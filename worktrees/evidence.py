"""What git itself wrote down of the commands that a program ran (`GIT_TRACE2_EVENT`): who changed the configuration
or deleted a ref, of which no reflog tells.

Only commands in the places asked for count: the tests of a user's project run git in thousands of other repositories.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

Command = tuple[str, ...]

MOST_BYTES = 32_000_000  # some ten thousand commands; whoever has a larger one reads it and begins again
_WRITERS = {"config", "remote", "branch", "push", "switch", "checkout", "submodule", "submodule--helper"}
_WRITERS |= {"tag", "stash", "update-ref", "replace", "notes"}
_KINDS = (b'"event":"start"', b'"event":"cmd_name"', b'"event":"def_repo"')
_SECTIONS = {"remote": "remote.", "submodule": "submodule.", "submodule--helper": "submodule."}
_SECTIONS |= dict.fromkeys(("branch", "push", "switch", "checkout"), "branch.")
_DELETING = frozenset(["-d", "-D", "--delete", "-m", "-M", "--move"])


def trace_variables(file: Path) -> dict[str, str]:
    """What has a program's git write its commands down in `file`."""
    return {"GIT_TRACE2_EVENT": str(file), "GIT_TRACE2_EVENT_BRIEF": "1"}


def read_commands(file: Path, places: Collection[Path]) -> list[Command]:
    """The commands that can change what worktrees share, run in one of `places`: subcommand first, then arguments."""
    sessions: dict[str, dict[str, object]] = {}
    for line in _lines(file):
        if any(kind in line for kind in _KINDS):
            try:
                event = json.loads(line)
                sessions.setdefault(event["sid"], {}).setdefault(event["event"], event)
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a kill
    here = {str(place) for place in places}
    return [command for events in sessions.values() if (command := _command(events, here)) is not None]


def _lines(file: Path) -> Iterable[bytes]:
    try:
        with file.open("rb") as stream:
            yield from stream
    except OSError:
        return


def _command(events: dict[str, object], here: Collection[str]) -> Command | None:
    start, named, where = (events.get(kind) for kind in ("start", "cmd_name", "def_repo"))
    if not (isinstance(start, dict) and isinstance(named, dict) and isinstance(where, dict)):
        return None
    argv, name = start.get("argv"), named.get("name")
    if name not in _WRITERS or where.get("worktree") not in here or not isinstance(argv, list):
        return None
    words = [str(word) for word in argv]
    at = words.index(name) if name in words else 0
    return (str(name), *words[at + 1 :])


def changed_key(commands: Iterable[Command], key: str) -> bool:
    """Whether one of `commands` can have changed the configuration's `key`."""
    section, _, rest = key.partition(".")
    sections = {section, f"{section}.{rest.rpartition('.')[0]}"}
    for name, *words in commands:
        lowered = {word.lower() for word in words}
        if name == "config" and (key.lower() in lowered or (sections & lowered and _is_whole_section(lowered))):
            return True
        if name in _SECTIONS and key.startswith(_SECTIONS[name]):
            return True
    return False


def _is_whole_section(words: Collection[str]) -> bool:
    return bool({"--remove-section", "--rename-section", "remove-section", "rename-section"} & set(words))


def deleted_ref(commands: Iterable[Command], ref: str) -> bool:
    """Whether one of `commands` can have deleted or renamed `ref`."""
    kind = {"heads": "branch", "tags": "tag", "replace": "replace"}.get(ref.split("/")[1])
    short = ref.split("/", 2)[-1]
    for name, *words in commands:
        if name == "update-ref" and "-d" in words and ref in words:
            return True
        if name == kind and _deletes(words) and short in words:
            return True
    return False


def _deletes(words: Iterable[str]) -> bool:
    return any(
        word in _DELETING or (word[:1] == "-" and word[1:2] != "-" and set("dDmM") & set(word)) for word in words
    )


def dropped_stashes(commands: Iterable[Command]) -> bool:
    """Whether one of `commands` took something off the stash."""
    return any(name == "stash" and words[:1] and words[0] in {"drop", "pop", "clear"} for name, *words in commands)


def forget_trace(file: Path) -> None:
    """Begin the file anew; git appends to it."""
    if file.exists():
        os.truncate(file, 0)
