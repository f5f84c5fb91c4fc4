"""Whether what the scribbling programs of a soak closed before they were killed is found again."""

from __future__ import annotations

import subprocess
from collections import Counter

from support.repository import environment, git
from support.soak_ground import Ground

_MOST_TOLD = 20


class Written:
    """What was written, by the programs' own account in the file `written`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._where: Counter[str] = Counter()

    def judge(self) -> list[str]:
        """Say what is lost, once nothing runs any more; a gc that prunes at once comes first."""
        root = self._ground.project.root
        for lock in (root / ".git").glob("packed-refs.lock"):
            lock.unlink()  # the user's: `doctor` names it, and nobody removes it unasked
        git(root, "gc", "--quiet", "--prune=now")
        landed = self._objects("main")
        wrong = []
        for item, files in self._wanted().items():
            own = landed
            missing = {file for file in files if file[2] not in own}
            if missing:
                own = self._objects(
                    f"--glob=refs/parallel-loop/salvage/{item}", f"--glob=refs/heads/parallel-loop/item/{item}"
                )
            lost = {file for file in missing if file[2] not in own}
            self._where["landed"] += len(files) - len(missing)
            self._where["salvaged or on its branch"] += len(missing) - len(lost)
            self._where["lost"] += len(lost)
            wrong += [f"lost: {name} of {item}, attempt {attempt} ({blob})" for attempt, name, blob in sorted(lost)]
        return wrong[:_MOST_TOLD]

    @property
    def count(self) -> int:
        """How many files were looked for."""
        return self._where.total()

    def describe(self) -> str:
        return ", ".join(f"{count} {where}" for where, count in self._where.items())

    def _wanted(self) -> dict[str, set[tuple[str, str, str]]]:
        """What must be there: attempt, name and blob, by item."""
        found: dict[str, set[tuple[str, str, str]]] = {}
        try:
            lines = (self._ground.folder / "written").read_text().splitlines()
        except FileNotFoundError:
            return {}
        for line in lines:
            what, item, attempt, rest = line.split(" ", 3)
            name, _, blob = rest.rpartition(" ")
            files = found.setdefault(item, set())
            (files.add if what == "have" else files.discard)((attempt, name, blob))
        return found

    def _objects(self, *revisions: str) -> set[str]:
        argv = ["git", "-C", str(self._ground.project.root), "rev-list", "--objects", *revisions]
        out = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=True).stdout
        return {line.partition(" ")[0] for line in out.splitlines()}
