"""`parallel-loop diff`: what the work of an item changes, before it lands and after."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import click

from ...harness.project import Project
from ...harness.state import read_session
from ...queue.records import Entry, Record
from ...worktrees.changes import Changes, landed, not_landed, salvage_refs
from ...worktrees.git import require_git
from ...worktrees.landing import LANDING_BRANCH
from ...worktrees.repository import Repository
from ..errors import NotThere
from .caller import Caller, find_entry


@dataclass(frozen=True)
class _Attempt:
    """One attempt of an item: its number, and the records from its claim on."""

    number: int
    records: Sequence[Record]

    @property
    def with_commit(self) -> Record | None:
        """The newest of its records that names a commit."""
        return next((record for record in reversed(self.records) if record.commit), None)

    @property
    def outcome(self) -> Record | None:
        """The record that ended the attempt, None while it is worked on."""
        return self.records[1] if len(self.records) > 1 else None


@click.command(short_help="Show what the work of an item changes")
@click.argument("item_id", metavar="ID")
@click.option("--stat", is_flag=True, help="Only which files, and how much of each.")
@click.option("--attempt", "number", type=click.IntRange(min=1), metavar="K", help="That of the K-th attempt.")
@click.pass_obj
def diff(caller: Caller, item_id: str, stat: bool, number: int | None) -> None:
    """Show what the work of an item changes: against what it began from, or, once it has landed, what its landing did.

    Without --attempt it is the latest attempt that committed something. On a terminal git shows it, with your pager,
    colours and settings; otherwise it is plain text.

    \b
    Example:
      parallel-loop diff fix-login --stat
    """
    require_git()
    project = caller.project(only_read=True)
    repository = Repository.open(project.root)
    found = _find(project, repository, find_entry(project, item_id), number)
    if found.base == found.tip:
        click.echo(f"parallel-loop: all of it is on {LANDING_BRANCH} already", err=True)
        return
    options = ["--stat"] if stat else []
    if caller.no_color or os.environ.get("NO_COLOR"):
        options.append("--no-color")
    if sys.stdout.isatty():
        sys.stdout.flush()
        repository.git.become("diff", *options, found.base, found.tip, "--")
    shown = repository.git.run("diff", "--no-color", "--no-ext-diff", *options, found.base, found.tip, "--")
    click.echo(shown.stdout, nl=False)


def _find(project: Project, repository: Repository, entry: Entry, number: int | None) -> Changes:
    """Return what to show. Raises NotThere."""
    attempts = _attempts(entry)
    if not attempts:
        raise NotThere(f"{entry.item.id} is {project.queue.state(entry)} and was never begun: there is nothing to show")
    if number is not None and number > len(attempts):
        item_id = entry.item.id
        raise NotThere(f"{item_id} has no attempt {number}; it has {len(attempts)}, see `parallel-loop show {item_id}`")
    asked = attempts[number - 1 : number] if number is not None else list(reversed(attempts))
    for attempt in asked:
        if attempt.with_commit is not None:
            if attempt is not asked[0]:
                said = f"attempt {asked[0].number} committed nothing so far; this is attempt {attempt.number}"
                click.echo(f"parallel-loop: {said}", err=True)
            return _of_record(repository, entry, attempt, attempt.with_commit)
        if attempt.outcome is None:
            found = _in_work(project, repository, entry, attempt)
            if found is not None:
                return found
    raise NotThere(_nothing(repository, entry, asked[0]))


def _attempts(entry: Entry) -> list[_Attempt]:
    starts = [index for index, record in enumerate(entry.records) if record.kind == "claimed"]
    spans = pairwise([*starts, len(entry.records)])
    return [_Attempt(number, entry.records[start:end]) for number, (start, end) in enumerate(spans, 1)]


def _of_record(repository: Repository, entry: Entry, attempt: _Attempt, record: Record) -> Changes:
    commit = repository.resolve(str(record.commit))
    if commit is None:
        branch = f" (its branch was {record.branch})" if record.branch else ""
        kept = _kept(repository, entry, attempt)
        raise NotThere(f"commit {record.commit} of {_name(entry, attempt)} is not in the repository{branch}{kept}")
    if record.kind == "done":
        return landed(repository.git, commit, entry.item.id, attempt.number)
    return _against_landed(repository, commit)


def _against_landed(repository: Repository, commit: str) -> Changes:
    found = not_landed(repository.git, commit)
    if found is None:
        raise NotThere(f"there is no branch {LANDING_BRANCH} to compare with; a run makes it again")
    return found


def _in_work(project: Project, repository: Repository, entry: Entry, attempt: _Attempt) -> Changes | None:
    """Return what the attempt that is under way has committed so far, None when that is nothing."""
    agent = attempt.records[0].agent
    directory = project.state.agent(agent) if agent in project.state.agent_names() else None
    session = None if directory is None else read_session(directory)
    if session is None or (session.item, session.attempt) != (entry.item.id, attempt.number):
        return None
    tip = repository.branch_tip(session.branch)
    found = None if tip is None else _against_landed(repository, tip)
    if found is None or found.base == found.tip:
        return None
    where = shlex.quote(str(project.worktrees / str(agent)))
    said = f"{agent} is at work on it; what it has not committed yet is in {where}"
    click.echo(f"parallel-loop: {said}", err=True)
    return found


def _nothing(repository: Repository, entry: Entry, attempt: _Attempt) -> str:
    """Say why there is nothing to show, and where what there is can be seen."""
    name, outcome = _name(entry, attempt), attempt.outcome
    if outcome is None:
        said = f"{name} has committed nothing yet; {attempt.records[0].agent} is at work on it"
    else:
        why = f": {outcome.why}" if outcome.why else ""
        said = f"{name} committed nothing ({outcome.outcome or outcome.kind}{why})"
    return said + _kept(repository, entry, attempt)


def _kept(repository: Repository, entry: Entry, attempt: _Attempt) -> str:
    refs = salvage_refs(repository.git, entry.item.id, attempt.number)
    return f"; what it left was kept: `git show {' '.join(refs)}`" if refs else ""


def _name(entry: Entry, attempt: _Attempt) -> str:
    return f"attempt {attempt.number} of {entry.item.id}"
