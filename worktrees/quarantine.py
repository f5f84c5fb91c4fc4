"""Where planted things are moved to, with a note for a person each, and what that person accepted.

A folder for each thing, `<quarantine>/<slug>/`, has what was `found` there, how it was `before`, and a `note`. Whoever
did it themself moves the folder to `accepted/`: then the same content is left alone from now on. To remove the folder
is to say that one has seen it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_ACCEPTED = "accepted"


@dataclass(frozen=True)
class Call:
    """Something a person should look at: why, and the note that says what can be done."""

    why: str
    note: Path


class Quarantine:
    """The folder, made when it is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_accepted(self, name: str, content: bytes) -> bool:
        """Whether a person said that `name` may have this content."""
        return (self.root / _ACCEPTED / slug(name, content)).exists()

    def take(self, name: str, content: bytes, before: bytes | None, why: str, put_back: str) -> bool:
        """Keep `content` and what was there before, with a note; False when the same is here already.

        `put_back` is the shell command by which a person puts `content` in its place; `{found}` in it is its file.
        Raises OSError.
        """
        folder = self.root / slug(name, content)
        if (folder / "note").exists():
            return False
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "found").write_bytes(content)
        if before is not None:
            (folder / "before").write_bytes(before)
        accepted = self.root / _ACCEPTED
        mine = f"mkdir -p {quoted(accepted)} && mv {quoted(folder)} {quoted(accepted)}/"
        again = put_back.replace("{found}", quoted(accepted / folder.name / "found"))
        note = (
            f"{why}\n\nIf you did that yourself, this accepts it and puts it in place:\n"
            f"    {mine}{' && ' if again else ''}{again}\n"
            f"Else look at what was found here, and then forget it:\n    rm -r {quoted(folder)}\n"
        )
        (folder / "note").write_bytes(note.encode("utf-8", "surrogateescape"))
        return True

    def tell(self, name: str, why: str, remedy: str) -> bool:
        """Leave a note about something that was not undone; False when it is here already. Raises OSError."""
        folder = self.root / slug(name, why.encode("utf-8", "surrogateescape"))
        if (folder / "note").exists():
            return False
        folder.mkdir(parents=True, exist_ok=True)
        note = f"{why}\n\nTo see to it:\n    {remedy}\nThen forget this:\n    rm -r {quoted(folder)}\n"
        (folder / "note").write_bytes(note.encode("utf-8", "surrogateescape"))
        return True

    def place(self, name: str, content: bytes) -> Path:
        """Where what was found is kept, after `take`."""
        return self.root / slug(name, content) / "found"

    def calls(self) -> list[Call]:
        """What nobody has looked at yet."""
        if not self.root.is_dir():
            return []
        found = []
        for note in sorted(self.root.glob("*/note")):
            try:
                why = note.read_text("utf-8", "backslashreplace").partition("\n")[0]
            except OSError:
                continue
            if note.parent.name != _ACCEPTED:
                found.append(Call(why, note))
        return found


def slug(name: str, content: bytes) -> str:
    """A name for a folder: the same for the same content of the same thing, and for no other."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape") + b"\0" + content).hexdigest()
    return f"{_NO_NAME.sub('-', name)[:80]}-{digest[:12]}"


def quoted(path: Path) -> str:
    """A path as a shell reads it."""
    return shlex.quote(str(path))
