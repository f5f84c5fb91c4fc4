"""Which two commits to compare to see what one attempt's work changes. Nothing here changes anything."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .git import Git
from .landing import LANDING_BRANCH
from .repository import resolve

_MOST_COMMITS = 1000  # of one attempt, landed one by one (`land_as: rebase`)
_TRAILER = "%(trailers:key={},valueonly,unfold,separator=%x2c)"
_FORMAT = f"--format=%H%x00{_TRAILER.format('Item')}%x00{_TRAILER.format('Attempt')}"


@dataclass(frozen=True)
class Changes:
    """The commits between which the work stands: `base` has nothing of it, `tip` all. They are the same for none."""

    base: str
    tip: str


def not_landed(git: Git, tip: str) -> Changes | None:
    """What `tip` has that the landing branch lacks, None when there is no landing branch.

    Where both have no commit in common, it is all that `tip` has.
    """
    landed = resolve(git, f"refs/heads/{LANDING_BRANCH}")
    if landed is None:
        return None
    base = git.run("merge-base", landed, tip, ok=(0, 1)).text.split("\n")[0]
    return Changes(base or _empty_tree(git), tip)


def landed(git: Git, commit: str, item_id: str, attempt: int) -> Changes:
    """What the attempt's own landed commits changed, of which `commit` is the last.

    They are those whose trailers name the attempt, one after the other; a commit that came another way stands alone.
    """
    argv = ("log", "--first-parent", "--no-show-signature", f"--max-count={_MOST_COMMITS}", _FORMAT, commit)
    oldest = commit
    for line in git.text(*argv).splitlines():
        found, *named = line.split("\0")
        if named != [item_id, str(attempt)]:
            break
        oldest = found
    return Changes(resolve(git, f"{oldest}^") or _empty_tree(git), commit)


def salvage_refs(git: Git, item_id: str, attempt: int) -> list[str]:
    """The refs that hold what an attempt left and no branch keeps."""
    folder = f"refs/parallel-loop/salvage/{item_id}"
    names = git.text("for-each-ref", "--format=%(refname)", folder).splitlines()
    return [name for name in names if re.fullmatch(rf"{attempt}(-\d+)?", name.removeprefix(f"{folder}/"))]


def _empty_tree(git: Git) -> str:
    return git.run("hash-object", "-t", "tree", "--stdin", stdin=b"").text
