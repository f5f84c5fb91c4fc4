"""The user's own template for prompts: a text file with placeholders such as `$prompt` or `${branch}`.

Guarantees: a template that `read_template` returns can be filled in; everything else is a TemplateError of one line
that names the file and the line in it.
"""

from __future__ import annotations

import string
from pathlib import Path

from .wording import nearest, shown

PLACEHOLDERS = (
    *("prompt", "id", "title", "role", "branch", "attempt", "target"),
    *("answers", "earlier", "rules", "checks", "context"),
)
_MOST_BYTES = 1_000_000


class TemplateError(Exception):
    """The template cannot be used."""


def read_template(root: Path, name: str) -> string.Template:
    """Return the template in the file `name`, relative to the repository `root`. Raises TemplateError."""
    path = root / name
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise TemplateError(f"{name} is not a regular file; name a text file")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise TemplateError(f"{name} cannot be read ({error.strerror}); correct the path") from None
    except ValueError:
        raise TemplateError(f"{shown(name)} is no path") from None
    if len(data) > _MOST_BYTES:
        raise TemplateError(f"{name} is larger than {_MOST_BYTES:,} bytes; a prompt must be smaller")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TemplateError(f"{name}:{line}: not UTF-8 text; save the file as UTF-8") from None
    _check(text, name)
    return string.Template(text)


def _check(text: str, name: str) -> None:
    has_prompt = False
    for match in string.Template.pattern.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        word = match["named"] or match["braced"]
        if word and word not in PLACEHOLDERS:
            problem = f"unknown placeholder ${word}; {nearest(word, PLACEHOLDERS, f'`$${word}` is the text itself')}"
            raise TemplateError(f"{name}:{line}: {problem}")
        if match["invalid"] is not None:
            raise TemplateError(f"{name}:{line}: a `$` that begins no placeholder; write `$$` for one that stays")
        has_prompt = has_prompt or word == "prompt"
    if not has_prompt:
        raise TemplateError(f"{name} has no $prompt: no program would be told what to do; write it where that goes")
