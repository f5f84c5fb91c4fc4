"""What a program changed in the files that all worktrees share is seen, judged, and put back where that is right.

Guarantees: a hook that appeared or changed while programs were at work does not run in the user's next commit, and no
setting that has git run something or send work elsewhere stays: each is moved into the quarantine, the former is put
back, and a person is told. What a person accepted is left alone. Of the other settings only those go back that a
program is known to have changed. Nothing is deleted.

Assumes: called under one lock of the repository (harness/guard.py), with what was there at the last call. No sandbox:
a program runs as the user, and one that wants to can write anywhere.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .evidence import Command, changed_key
from .files import remove
from .git import Git
from .quarantine import Quarantine, quoted
from .shared_config import PRECIOUS, Unreadable, Values, changed_keys, is_dangerous, read_config, set_key
from .shared_files import CONFIGURATIONS, HOOKS, REPORTED, RULES, File, look

Files = Mapping[str, File]


@dataclass(frozen=True)
class Change:
    """One change that was found: what, and whether it is undone now. `grave` ones are in the quarantine, too."""

    name: str
    why: str
    undone: bool
    grave: bool


class SharedFiles:
    """The shared files of the repository whose git directory is `common_dir`."""

    def __init__(self, common_dir: Path, quarantine: Quarantine) -> None:
        self._dir = common_dir
        self._quarantine = quarantine
        self._git = Git(Path("/"))  # never in the repository: its configuration may be what is broken

    def look(self) -> dict[str, File]:
        """How they are now."""
        return look(self._dir)

    def judge(
        self,
        before: Files,
        commands: Callable[[], Sequence[Command]],
        is_quiet: Callable[[Path], bool] = lambda _: False,
    ) -> list[Change]:
        """Compare with `before`, put back what must not stay, and say what was found. Raises OSError, GitError.

        `commands` tells what programs ran in the repository. A file of which `is_quiet` says that it was changed when
        none was at work is the user's.
        """
        now = self.look()
        found: list[Change] = []
        for name in sorted(before.keys() | now.keys()):
            old, new = before.get(name), now.get(name)
            replaced = any(one.name == HOOKS and one.undone for one in found) and name.startswith(f"{HOOKS}/")
            if replaced or (new is not None and new.is_same(old)) or is_quiet(self._dir / name):
                continue
            if name in CONFIGURATIONS:
                found += self._judge_configuration(name, old, new, commands)
            elif name in REPORTED:
                found += self._report(name, old, new)
            else:
                found += self._judge_file(name, old, new)
                if name == HOOKS and found and found[-1].name == HOOKS:
                    self._put_back_hooks(before)
        return found

    # --- hooks and rules ------------------------------------------------------------------------------

    def _judge_file(self, name: str, old: File | None, new: File | None) -> list[Change]:
        path = self._dir / name
        if new is None:
            return self._missing(name, old)
        if name not in RULES and not new.can_run and not (old and old.can_run):
            return []  # nothing runs it
        content = _identity(new)
        if self._quarantine.is_accepted(name, content):
            return []
        kind = "hook" if name.startswith(HOOKS) else "file"
        did = "appeared" if old is None else "was changed"
        then = "the one before is back" if old is not None and old.content is not None else "it was moved away"
        why = f"the {kind} {path} {did} while programs were at work, who may have done it; {then}"
        put_back = f"cp -p --no-dereference {{found}} {quoted(path)}"
        self._quarantine.take(name, content, old.content if old else None, why, put_back)
        self._move(path, name, content)
        if old is not None and old.content is not None:
            old.put(path)
        return [Change(name, why, undone=True, grave=True)]

    def _put_back_hooks(self, before: Files) -> None:
        """After something in place of the whole folder was moved away."""
        for name, file in before.items():
            if name.startswith(f"{HOOKS}/") and file.content is not None:
                file.put(self._dir / name)

    def _move(self, path: Path, name: str, content: bytes) -> None:
        """Move what is at `path` into its folder of the quarantine, as it is."""
        place = self._quarantine.place(name, content)
        remove(place)
        try:
            path.rename(place)
        except OSError:  # another file system: what is kept is the content alone
            remove(path)
            place.write_bytes(content)

    def _missing(self, name: str, old: File | None) -> list[Change]:
        """A hook or rule that is gone harms nobody at once: it is kept for whoever misses it."""
        if old is None or old.content is None or (name not in RULES and not old.can_run):
            return []
        path = self._dir / name
        if name in RULES:
            if not old.content.strip() or name == "info/grafts":
                return []
            old.put(path)
            return [Change(name, f"{path} was removed while programs were at work; it is back", True, False)]
        why = f"the hook {path} was removed while programs were at work; it is kept beside this note"
        if self._quarantine.is_accepted(f"{name} removed", old.content):
            return []
        is_new = self._quarantine.take(f"{name} removed", old.content, None, why, "")
        return [Change(name, why, undone=False, grave=True)] if is_new else []

    def _report(self, name: str, old: File | None, new: File | None) -> list[Change]:
        """What stays, because objects may hang on it by now."""
        content = b"" if new is None else _identity(new)
        path = self._dir / name
        if new is None or self._quarantine.is_accepted(name, content):
            return []
        does = "has git take objects from elsewhere" if "alternates" in name else "cuts the history off"
        did = "appeared" if old is None else "was changed"
        why = f"{path} {did} while programs were at work, and {does}; it was left"
        is_new = self._quarantine.take(name, content, old.content if old else None, why, "")
        return [Change(name, why, undone=False, grave=True)] if is_new else []

    # --- configuration --------------------------------------------------------------------------------

    def _judge_configuration(
        self, name: str, old: File | None, new: File | None, commands: Callable[[], Sequence[Command]]
    ) -> list[Change]:
        path = self._dir / name
        if new is not None and not new.is_plain:
            return self._replace(name, old, new, "it is no file any more")
        with tempfile.TemporaryDirectory(prefix="parallel-loop-") as folder:
            was = self._read(Path(folder, "before"), old)
        try:
            is_now = read_config(self._git, path) if new is not None else {}
        except Unreadable as error:
            return self._replace(name, old, new, f"git cannot read it ({str(error).splitlines()[0]})")
        if new is None and name == "config":
            return self._replace(name, old, new, "it was removed")
        found = []
        for key in changed_keys(was, is_now):
            before, after = was.get(key, ()), is_now.get(key, ())
            found += self._judge_key(name, key, before, after, commands)
        return found

    def _read(self, draft: Path, file: File | None) -> dict[str, Values]:
        if file is None or file.content is None:
            return {}
        draft.write_bytes(file.content)
        try:
            return read_config(self._git, draft)
        except Unreadable:
            return {}

    def _judge_key(
        self, name: str, key: str, before: Values, after: Values, commands: Callable[[], Sequence[Command]]
    ) -> list[Change]:
        if key == PRECIOUS and after == ("1",):  # ours
            return []
        said = "\n".join((key, *after)).encode("utf-8", "surrogateescape")
        grave = is_dangerous(key, before, after)
        if self._quarantine.is_accepted(f"{name}-{key}", said):
            return []
        by_program = changed_key(commands(), key)
        if not grave and not by_program:
            return []  # the user's own
        path = self._dir / name
        did = f"was set to {_shown(after)}" if after else "was removed"
        who = "by a program" if by_program else "while programs were at work, who may have done it"
        why = f"in {path} {key} {did} {who}; it is {_shown(before) if before else 'not set'} again"
        if grave:
            config = f"git config --file {quoted(path)}"
            puts = [f"{config} --add {shlex.quote(key)} {shlex.quote(value)}" for value in after]
            put_back = " && ".join([f"{{ {config} --unset-all {shlex.quote(key)}; true; }}", *puts])
            self._quarantine.take(
                f"{name}-{key}", said, "\n".join(before).encode("utf-8", "surrogateescape"), why, put_back
            )
        set_key(self._git, path, key, before)
        return [Change(key, why, undone=True, grave=grave)]

    def _replace(self, name: str, old: File | None, new: File | None, problem: str) -> list[Change]:
        """Put a whole configuration back."""
        path = self._dir / name
        if old is None or old.content is None:
            return []
        content = b"" if new is None else new.content or b""
        why = f"{path} was damaged while programs were at work: {problem}; the one before is back"
        self._quarantine.take(name, content, old.content, why, f"cp {{found}} {quoted(path)}")
        remove(path)
        old.put(path)
        return [Change(name, why, undone=True, grave=True)]


def _identity(file: File) -> bytes:
    """What makes it this file: its content, or as much as is known of it, and whether it can run."""
    return file.content if file.content is not None else file.digest.encode()


def _shown(values: Values) -> str:
    return ", ".join(repr(value[:100]) for value in values)
