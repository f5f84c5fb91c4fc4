"""`parallel-loop show`: one item with its whole history."""

from __future__ import annotations

import contextlib
import sys

import click

from ...harness.project import Project
from ...harness.state import read_session
from ...queue.atomic import Unreadable, read_file
from ...queue.records import ENDED, Entry
from ..drawing.views import InHand, item_details
from ..errors import NotThere, WrongUsage
from ..held_up import held_up
from .caller import Caller, find_entry, waits_for, write_json

_MOST_PROMPT_BYTES = 100_000_000


@click.command(short_help="Show one item with its whole history")
@click.argument("item_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
@click.option("--prompt", "as_prompt", is_flag=True, help="What the next attempt would be sent, and nothing else.")
@click.pass_obj
def show(caller: Caller, item_id: str, as_json: bool, as_prompt: bool) -> None:
    """Show one item: what it is, its state, and every attempt with its outcome, reason, branch, commit and log.

    With --prompt: the text that the next attempt would be sent as things are now, or that the one in hand was sent.
    Of an item that has ended there is none.

    \b
    Example:
      parallel-loop show fix-login
      parallel-loop show fix-login --prompt
    """
    project = caller.project(only_read=True)
    entry = find_entry(project, item_id)
    if as_prompt:
        if as_json:
            raise WrongUsage("--prompt prints the text alone; leave --json away")
        prompt = _prompt(project, entry)
        sys.stdout.buffer.write(prompt)
        if sys.stdout.isatty() and not prompt.endswith(b"\n"):  # else the shell's own prompt stands behind it
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
        return
    names = waits_for(entry, project.queue.is_done, lambda name: _read(project, name)) or held_up(project)(entry.item)
    details = item_details(entry, project.queue.state(entry), names, _in_hand(project, entry))
    if as_json:
        write_json(details)
        return
    from ..drawing.tables import item_text

    click.echo(item_text(details, entry.item))


def _prompt(project: Project, entry: Entry) -> bytes:
    """Return what the attempt in hand was sent, else what the next one would be: by the code that sends it."""
    last, item = entry.last, entry.item
    if last is not None and last.kind == "claimed" and last.agent:
        path = project.state.agent(last.agent).prompt_file(item.id, entry.attempts)
        with contextlib.suppress(OSError, Unreadable):
            data = read_file(path, _MOST_PROMPT_BYTES)
            if data is not None:
                return data
        raise NotThere(f"attempt {entry.attempts} at {item.id} has not been sent anything yet; ask again in a moment")
    if last is not None and last.kind in ENDED:
        retry = "" if last.kind == "done" else f"; `parallel-loop retry {item.id}` has it tried again"
        raise NotThere(f"{item.id} is {last.kind}, so nothing more is sent{retry}")
    from ...harness.briefing import Place, prompt_for
    from ...harness.programs import check_runnable, program_of
    from ...harness.resuming import resumption
    from ...worktrees.branches import attempt_branch, free_branch
    from ...worktrees.landing import LANDING_BRANCH
    from ...worktrees.repository import Repository

    check_runnable(item, project.config)
    repository = Repository.open(project.root)
    target = project.config.target or repository.branch_checked_out() or "HEAD"
    tip = next(filter(None, map(repository.resolve, (f"refs/heads/{LANDING_BRANCH}", target))), "HEAD")
    number = entry.attempts + 1
    branch = free_branch(repository.git, attempt_branch(item.id, number))
    agent = next((record.agent for record in reversed(entry.records) if record.agent), "")
    resumed = resumption(entry, project, agent)
    if resumed is not None and project.config.adapter(program_of(item, project.config)).resume_in == "same":
        click.echo(f"parallel-loop: this is if {agent} goes on with its session; another begins anew", err=True)
    place = Place(repository.git, tip, branch, number, target)
    return prompt_for(entry, project, place, resumed).encode(errors="surrogatepass")


def _in_hand(project: Project, entry: Entry) -> InHand | None:
    """Return what the agent that holds the item says of its attempt, None when nobody holds it."""
    last, item_id, attempt = entry.last, entry.item.id, entry.attempts
    if last is None or last.kind != "claimed" or not last.agent:
        return None
    agent = project.state.agent(last.agent)
    session = read_session(agent)
    is_of_it = session is not None and (session.item, session.attempt) == (item_id, attempt)
    started_at = session.started_at if session is not None and is_of_it else None
    return InHand(started_at, str(agent.attempt_log(item_id, attempt).relative_to(project.root)))


def _read(project: Project, item_id: str) -> Entry | None:
    try:
        return project.queue.entry(item_id)
    except Unreadable:
        return None
