"""What changed in a configuration that all worktrees share, key by key, and which changes are dangerous.

Dangerous is what has git run something, follow other files, or send work elsewhere. `git config` is asked about files
by name, never about the repository: a configuration that git cannot read must not stop us from putting it right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .git import Git

Values = tuple[str, ...]
PRECIOUS = "extensions.preciousobjects"  # set by precious.py while a run lives

_DANGEROUS = re.compile(
    r"core\.(hookspath|fsmonitor|sshcommand|gitproxy|editor|pager|askpass|attributesfile|excludesfile|worktree|bare"
    r"|alternaterefscommand|repositoryformatversion)"
    r"|sequence\.editor|diff\.external|diff\..*\.(command|textconv)|filter\..*\.(clean|smudge|process)"
    r"|merge\..*\.driver|(diff|merge)tool\..*\.(cmd|path)|interactive\.difffilter|pager\..*|trailer\..*\.(cmd|command)"
    r"|include\.path|includeif\..*\.path|credential\.(.*\.)?helper|gpg\.(.*\.)?program|(browser|man)\..*\.(cmd|path)"
    r"|url\..*\.(insteadof|pushinsteadof)|remote\..*\.(uploadpack|receivepack|vcs|proxy|pushurl)|protocol\.(.*\.)?allow"
    r"|http\.(.*\.)?(proxy|sslverify|extraheader|cookiefile)|uploadpack\.packobjectshook|ssh\.variant|init\.templatedir"
    r"|sendemail\..*cmd|tar\..*\.command|guitool\..*\.cmd|gc\..*prune.*|gc\.(pruneexpire|worktreepruneexpire)"
    r"|extensions\..*",
    re.DOTALL,
)
_COMMAND_BY_VALUE = re.compile(r"alias\..*|submodule\..*\.update", re.DOTALL)


class Unreadable(Exception):
    """Git cannot read the file as a configuration."""


def read_config(git: Git, file: Path) -> dict[str, Values]:
    """Every key of a configuration file with its values, in their order. Raises Unreadable."""
    listed = git.run("config", f"--file={file}", "--no-includes", "--list", "-z", ok=tuple(range(256)))
    if listed.returncode != 0:
        raise Unreadable(listed.stderr)
    found: dict[str, Values] = {}
    for field in listed.fields:
        key, has_value, value = field.partition("\n")
        found[key] = (*found.get(key, ()), value if has_value else "true")
    return found


def changed_keys(before: Mapping[str, Values], after: Mapping[str, Values]) -> list[str]:
    """The keys whose values are not the same."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def is_dangerous(key: str, before: Values, after: Values) -> bool:
    """Whether a program that made this change could have git run or do something for the user that they never chose."""
    if _DANGEROUS.fullmatch(key):
        return True
    if _COMMAND_BY_VALUE.fullmatch(key):
        return any(value.startswith("!") for value in after)
    if key.startswith("remote.") and key.endswith(".url"):  # work would be pushed there
        return bool(before) or any(value.startswith("ext::") for value in after)
    return False


def set_key(git: Git, file: Path, key: str, values: Values) -> None:
    """Make `values` all that `file` has for `key`. Raises GitError."""
    git.run("config", f"--file={file}", "--unset-all", key, ok=(0, 5))
    for value in values:
        git.run("config", f"--file={file}", "--add", key, value)
