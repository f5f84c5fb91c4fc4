"""A user's checkout with edits of each kind, and two trees between which the target goes back and forth."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

from support.repository import attempt_git, commit, configure, git, make_repository, write

VARIANTS = ("plain", "sparse", "filter", "crlf", "linked", "submodule", "split index")
Seen = tuple[str, bytes, bool]  # kind, content, whether it can be executed
_FOLDERS = 12


class Checkout:
    """The checkout at `root`, in which `main` is checked out, of the repository whose git directory is `shared`."""

    def __init__(self, folder: Path, variant: str, files: int, seed: int) -> None:
        self.variant = variant
        self._chance = random.Random(seed)
        main = make_repository(folder / "repo", self._kept())
        self.shared = main / ".git"
        if variant == "submodule":
            self._add_submodule(main, folder / "library")
        base = git(main, "rev-parse", "main")
        self._trees = [self._tree(main, base, number, files) for number in range(2)]
        git(main, "branch", "--force", "main", self._commit(main, base, 0))
        git(main, "reset", "--quiet", "--hard", "main")
        self.root = self._check_out(main, folder / "linked")
        self.git_dir = Path(git(self.root, "rev-parse", "--absolute-git-dir"))
        listed = git(self.root, "diff-tree", "-r", "-z", "--name-only", "--no-renames", *self._trees)
        self.step = frozenset(listed.split("\0")) - {""}
        self._at = 0
        self._edit()

    # --- what lands -----------------------------------------------------------------------------------

    def next_commit(self) -> str:
        """A commit on top of main that has the other tree."""
        return self._commit(self.root, git(self.root, "rev-parse", "main"), 1 - self._at)

    def note_landed(self) -> None:
        """Main has moved to that commit."""
        self._at = 1 - self._at

    def _commit(self, place: Path, parent: str, number: int) -> str:
        return git(place, "commit-tree", self._trees[number], "-p", parent, "-m", "landed")

    def _kept(self) -> dict[str, str | bytes]:
        files: dict[str, str | bytes] = {f"keep/k{number}": f"kept {number}\n" for number in range(12)}
        return files | {".gitignore": "*.o\nbuild/\n", "in/keep": "kept\n", ".gitattributes": "*.big filter=rot\n"}

    def _tree(self, main: Path, base: str, number: int, files: int) -> str:
        git(main, "checkout", "--quiet", "--force", "--detach", base)
        made: dict[str, str | bytes] = {}
        for index in range(files):
            if index % 6 == number:
                continue  # only the other tree has it
            name = f"d{index % _FOLDERS}/f{index}" + (".big" if index % 9 == 0 else ".txt")
            lines = self._chance.randrange(1, 4000 if index % 10 == 0 else 40)
            made[name] = "".join(f"{number} {index} {line}\n" for line in range(lines))
        made |= {"append": "a line\n" * (200 if number else 100), "mode": "same\n"}
        made |= {"kinds/a/x": "x\n", "kinds/a/y": "y\n", "kinds/b/f": "f\n"} if number else {"kinds/a": "a file\n"}
        made |= {"attr/.gitattributes": "*.t text eol=crlf\n"} if number else {}
        made |= {f"attr/{index}.t": f"{index}\nsame\n{number if index % 2 else ''}\n" for index in range(6)}
        write(main, made)
        for name, target in ({"kinds/c": "../d1"} if number else {"kinds/b": "../d0", "kinds/c": "gone"}).items():
            (main / name).symlink_to(target)
        (main / "mode").chmod(0o755 if number else 0o644)
        if number and self.variant == "submodule":
            git(main / "sub", "checkout", "--quiet", "HEAD~1")
        commit(main, {})
        return git(main, "rev-parse", "HEAD^{tree}")

    # --- the user's -----------------------------------------------------------------------------------

    def _add_submodule(self, main: Path, library: Path) -> None:
        make_repository(library, {"lib": "1\n"})
        commit(library, {"lib": "2\n"})
        git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "sub")
        configure(main / ".git" / "modules" / "sub")
        commit(main, {})

    def _check_out(self, main: Path, linked: Path) -> Path:
        """Bring about what the variant is about."""
        if self.variant == "linked":
            git(main, "switch", "--quiet", "--detach")
            git(main, "worktree", "add", "--quiet", str(linked), "main")
            return linked
        git(main, "switch", "--quiet", "main")
        if self.variant == "sparse":
            folders = [f"d{number}" for number in range(0, _FOLDERS, 2)]
            git(main, "sparse-checkout", "set", "--cone", "--sparse-index", "in", "keep", "kinds", *folders)
        elif self.variant == "filter":
            for way in ("smudge", "clean"):
                git(main, "config", f"filter.rot.{way}", "tr 0-9 5-90-4")
            git(main, "config", "filter.rot.required", "true")
        elif self.variant == "crlf":
            git(main, "config", "core.autocrlf", "true")
        elif self.variant == "submodule":
            git(main, "config", "submodule.recurse", "true")
        elif self.variant == "split index":
            git(main, "config", "core.splitIndex", "true")
        if self.variant in {"filter", "crlf"}:
            for name in git(main, "ls-files", "-z").split("\0")[:-1]:
                (main / name).unlink()
            git(main, "reset", "--quiet", "--hard")
        return main

    def _edit(self) -> None:
        """Edits of each kind, none of them where anything lands."""
        root, keep = self.root, self.root / "keep"
        write(root, {f"keep/k{number}": f"mine {number}\n" for number in (0, 1, 2, 6, 7)})
        git(root, "add", "keep/k1", "keep/k2")
        write(root, {"keep/k2": "mine on top of what is staged\n", "keep/added": "mine\n", "keep/intended": "mine\n"})
        (keep / "k3").unlink()
        git(root, "rm", "--quiet", "--cached", "keep/k4")
        (keep / "k5").chmod(0o755)
        git(root, "update-index", "--assume-unchanged", "keep/k6")
        git(root, "update-index", "--skip-worktree", "keep/k7")
        git(root, "mv", "keep/k8", "keep/moved")
        git(root, "add", "keep/added")
        git(root, "add", "--intent-to-add", "keep/intended")
        (keep / "k9").unlink()
        (keep / "k9").symlink_to("nowhere")
        write(
            root, {"d0/mine": "mine\n", "d0/mine.o": "ignored\n", "build/d/out": "ignored\n", "d2/folder/mine": "x\n"}
        )
        (root / "dangling").symlink_to("nowhere")
        make_repository(root / "nested", {"its": "own\n"})
        if self.variant == "submodule":
            write(root / "sub", {"lib": "mine\n", "untracked": "mine\n"})

    # --- what there is --------------------------------------------------------------------------------

    def files(self) -> dict[str, Seen]:
        """Everything in the checkout."""
        return dict(_look(self.root))

    def mine(self, files: dict[str, Seen]) -> dict[str, Seen]:
        """What of that nothing lands on."""
        return {name: seen for name, seen in files.items() if name not in self.step}

    def landed(self, files: dict[str, Seen]) -> dict[str, Seen]:
        """The rest."""
        return {name: seen for name, seen in files.items() if name in self.step}

    def index(self) -> tuple[str, list[str]]:
        """What git says is changed, and the entries of the index that nothing lands on, with their flags."""
        entries = git(self.root, "ls-files", "-v", "-s", "-z").split("\0")
        status = git(self.root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=all", "--ignored")
        # The submodule's entry moves, its checkout does not: `git pull` does the same.
        shown = [line for line in status.split("\n") if line[-4:] != " sub" and ".parallel-loop" not in line]
        return "\n".join(shown), [entry for entry in entries if entry.partition("\t")[2] not in self.step]

    def locks(self) -> list[Path]:
        """Locks, and what we leave in the git directory."""
        ours = [*self.shared.glob("parallel-loop.*"), *self.git_dir.glob("parallel-loop.*")]
        kept = {"parallel-loop.follow.lease", "parallel-loop.repair.lease"}
        return [*self.shared.rglob("*.lock"), *(path for path in ours if path.name not in kept)]

    def discard(self, name: str) -> None:
        """The user gives up an edit of a file on which something lands."""
        attempt_git(self.root, "checkout", "--quiet", "--", name)


def _look(root: Path) -> Iterator[tuple[str, Seen]]:
    for folder, below, files in os.walk(root):
        if Path(folder) == root:
            below[:] = [name for name in below if name not in {".git", ".parallel-loop"}]
            files = [name for name in files if name != ".git"]  # noqa: PLW2901
        for name in (*files, *(name for name in below if Path(folder, name).is_symlink())):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            kind = "link" if stat.S_ISLNK(mode) else "file"
            content = os.fsencode(path.readlink()) if kind == "link" else path.read_bytes()
            yield str(path.relative_to(root)), (kind, content, kind == "file" and bool(mode & stat.S_IXUSR))
