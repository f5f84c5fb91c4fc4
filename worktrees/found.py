"""The repository that a program made in place of its worktree's own: its commits are saved as all other work is.

`tie` moves such a `.git` directory aside, into the worktree's admin directory. No ref of the user's repository holds
what was committed there, and nobody would look for it.

Guarantees: it is removed only after a ref of ours holds the tip of each of its branches.
"""

from __future__ import annotations

from .environment import Identity
from .files import remove
from .git import Git, GitError
from .repository import resolve
from .salvage import Kept, keep
from .worktree import Worktree


def save_found(worktree: Worktree, ref: str, identity: Identity) -> list[Kept]:
    """Save the commits of such repositories under `ref`; one that git cannot read stays where it is."""
    kept = []
    git = worktree.git(identity)
    for folder in sorted(worktree.git_dir.glob("found.git.*")):
        found = Git(folder, git_dir=folder)
        try:
            tips = {
                tip for tip in found.text("for-each-ref", "--format=%(objectname)", "refs/heads").split("\n") if tip
            }
            head = resolve(found, "HEAD")
            tips |= {head} if head else set()
            if tips:
                pack = found.run("pack-objects", "--all", "--stdout", "--quiet", stdin=b"").stdout
                git.run("index-pack", "--stdin", stdin=pack)
            kept += [keep(git, ref, tip, "a repository in place of the worktree's") for tip in sorted(tips)]
        except GitError:
            continue
        remove(folder)
    return kept
