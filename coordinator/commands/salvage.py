"""`parallel-loop salvage`: what was saved from being thrown away, shown, made a branch again, let go of."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ...harness.configuration.wording import in_utf8
from ..errors import NotThere, WrongUsage
from .caller import Caller, write_json

if TYPE_CHECKING:
    from ...harness.project import Project
    from ...worktrees.repository import Repository
    from ...worktrees.salvaged import Saved


@click.group(invoke_without_command=True, short_help="Look at what was saved from being thrown away, and get it back")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def salvage(ctx: click.Context, as_json: bool) -> None:
    """List what was saved: what attempts left in their worktrees, branches that did not land, commits on no branch.

    Each is a commit under refs/parallel-loop/salvage/ITEM/ATTEMPT, which no `git gc` removes. What a dead worker left
    and nobody has saved yet is listed with the worktree in which it lies. Nothing is let go of unless you say so, by
    `salvage prune` or by `salvage: {keep: 90d}` in the configuration.

    \b
    Example:
      parallel-loop salvage
      parallel-loop salvage show fix-login
      parallel-loop salvage restore fix-login/1 --branch rescued
    """
    if ctx.invoked_subcommand is not None:
        return
    caller = ctx.find_object(Caller)
    assert caller is not None
    project, repository = _open(caller)
    from ...worktrees.salvaged import saved
    from ..git_leftovers import GitLeftovers

    rows: list[dict[str, object]] = [_row(one) for one in saved(repository)]
    if project.state.root.is_dir():
        for left in GitLeftovers(project, repository).unsaved():
            item, attempt = (left.session.item, left.session.attempt) if left.session else (None, None)
            why = "not saved yet: a worker that starts there, or `parallel-loop doctor --repair`, saves it"
            rows.append(_fields(item=item, attempt=attempt, why=why, worktree=str(left.path)))
    if as_json:
        write_json(rows)
    elif not rows:
        click.echo("nothing saved is kept: nothing had to be saved, or it was pruned")
    for row in () if as_json else rows:
        click.echo(_line(row))


@salvage.command(short_help="What is in it: message, commits, files")
@click.argument("text", metavar="REF|ITEM[/ATTEMPT]")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@click.pass_obj
def show(caller: Caller, text: str, as_json: bool) -> None:
    """Show what was saved: when and why, its commits and files, as far as your branch has not got them.

    \b
    Example:
      parallel-loop salvage show fix-login/1
    """
    from ...worktrees.salvaged import content

    project, repository = _open(caller)
    target = project.config.target or repository.branch_checked_out()
    against = repository.branch_tip(target) if target else repository.resolve("HEAD")
    shown = []
    for one in _find(project, repository, text):
        has = content(repository.git, one.commit, against)
        files: list[dict[str, object]] = [
            {"path": in_utf8(name), "added": added, "removed": removed} for name, added, removed in has.files
        ]
        commits: list[dict[str, object]] = [{"commit": name, "subject": in_utf8(text)} for name, text in has.commits]
        row = _row(one) | {"base": has.base, "message": in_utf8(has.message), "commits": commits, "files": files}
        shown.append(row)
        if not as_json:
            _print_content(row, commits, files)
    if as_json:
        write_json(shown)


@salvage.command(short_help="Make it a branch again")
@click.argument("text", metavar="REF|ITEM[/ATTEMPT]")
@click.option("--branch", metavar="NAME", help="The new branch; without it, salvage/ITEM/ATTEMPT.")
@click.pass_obj
def restore(caller: Caller, text: str, branch: str | None) -> None:
    """Make a branch of what was saved. No checkout is touched; what was saved stays saved.

    \b
    Example:
      parallel-loop salvage restore fix-login/1 --branch rescued
    """
    from ...worktrees.salvaged import restore as make_branch

    project, repository = _open(caller)
    found = _find(project, repository, text)
    if len({one.commit for one in found}) > 1:
        names = ", ".join(one.name for one in found)
        raise WrongUsage(f"{text} means several: {names}; name one of them")
    one = found[0]
    name = branch or f"salvage/{one.name}"
    if name.startswith("parallel-loop/") or not repository.is_valid_branch(name):
        raise WrongUsage(f"--branch: {name!r} cannot be the name of a branch of yours; choose another")
    made = make_branch(repository.leased_git(), one.commit, name)
    target = project.config.target or repository.branch_checked_out() or "HEAD"
    click.echo(f"branch {name} is {'now' if made else 'already'} at {one.commit[:12]}; look at it with")
    click.echo(f"  git -C {shlex.quote(str(repository.root))} log -p {shlex.quote(target)}..{shlex.quote(name)}")


@salvage.command(short_help="Let go of what was saved long ago")
@click.option("--older-than", required=True, metavar="DUR", help="What was saved at least so long ago: 90d, 12h.")
@click.option("--json", "as_json", is_flag=True, help="Print what goes as a list of JSON objects.")
@click.pass_obj
def prune(caller: Caller, older_than: str, as_json: bool) -> None:
    """Let go of what was saved at least so long ago, and print what that is. Until `git gc` has removed the commits,
    `git branch NAME COMMIT` brings one back.

    \b
    Example:
      parallel-loop salvage prune --older-than 90d
    """
    from ...harness.configuration.units import parse_duration
    from ...worktrees.salvaged import prune as let_go
    from ...worktrees.salvaged import saved

    try:
        oldest = time.time() - parse_duration(older_than)
    except ValueError as error:
        raise WrongUsage(f"--older-than: {error}") from error
    _, repository = _open(caller)
    old = [one for one in saved(repository) if one.at_seconds <= oldest]
    let_go(repository.leased_git(), old)
    if as_json:
        write_json([_row(one) for one in old])
        return
    for one in old:
        click.echo(f"gone  {_line(_row(one))}  {one.commit}")
    if not old:
        click.echo(f"nothing was saved more than {older_than} ago")


def _open(caller: Caller) -> tuple[Project, Repository]:
    from ...worktrees.repository import Repository

    project = caller.project(only_read=True)
    return project, Repository.open(project.root)


def _find(project: Project, repository: Repository, text: str) -> list[Saved]:
    from ...worktrees.salvaged import matching, saved

    found = matching(saved(repository), text)
    if not found:
        elsewhere = _on_branch(project, repository, text)
        raise NotThere(f"nothing was saved under {text!r}; {elsewhere or '`parallel-loop salvage` lists what was'}")
    return found


def _on_branch(project: Project, repository: Repository, text: str) -> str:
    """Say on which branch the work of an item, or of its attempt, is; nothing when it is on none."""
    from ...queue.ids import InvalidId, check_id

    item_id, _, number = text.partition("/")
    try:
        entry = project.queue.entry(check_id(item_id))
    except InvalidId:
        return ""
    attempt = branch = None
    for record in () if entry is None else entry.records:
        attempt = (attempt or 0) + 1 if record.kind == "claimed" else attempt
        if record.branch and number in {"", str(attempt)} and repository.branch_tip(record.branch):
            branch = f"the work of attempt {attempt} is on its branch {record.branch}"
            branch += f"; `parallel-loop diff {item_id} --attempt {attempt}` shows it"
    return branch or ""


def _row(one: Saved) -> dict[str, object]:
    at = datetime.fromtimestamp(one.at_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"subject": in_utf8(one.subject), "why": in_utf8(one.why)}
    return _fields(ref=one.ref, item=one.item, attempt=one.attempt, commit=one.commit, at=at, **about)


def _fields(**known: object) -> dict[str, object]:
    """Return one entry of the list: every key, with None for what is not known."""
    keys = ("ref", "item", "attempt", "commit", "at", "why", "subject", "worktree")
    return {key: known.get(key) for key in keys}


def _line(row: dict[str, object]) -> str:
    from ..drawing.cells import clean

    if row["ref"] is None:
        owner = f"{row['item']}/{row['attempt']}" if row["item"] else "unknown"
        return clean(f"{owner:<24}  {'in ' + str(row['worktree'])}  ({row['why']})", most=4000)
    ref = str(row["ref"])
    name = ref.removeprefix("refs/parallel-loop/salvage/").removeprefix("refs/parallel-loop/")
    at = str(row["at"]).replace("T", " ").removesuffix("Z")
    return clean(f"{name:<24}  {str(row['commit'])[:12]}  {at}  {row['subject']}", most=4000)


def _print_content(row: dict[str, object], commits: list[dict[str, object]], files: list[dict[str, object]]) -> None:
    from ..drawing.cells import clean

    click.echo(_line(row))
    lines = [f"ref     {row['ref']}", f"why     {row['why'] or 'not known'}", f"base    {row['base'] or 'none'}"]
    lines += [f"        {line}" for line in str(row["message"]).split("\n")[:20]]
    lines += [f"commit  {str(one['commit'])[:12]} {one['subject']}" for one in commits]
    for one in files:
        size = "binary" if one["added"] is None else f"+{one['added']} -{one['removed']}"
        lines.append(f"file    {size:<12} {one['path']}")
    for line in lines:
        click.echo(f"  {clean(line, most=4000)}".rstrip())
