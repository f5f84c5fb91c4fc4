"""`parallel-loop add`: one more item."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ...harness.configuration.documents import Keys
from ...harness.configuration.schema import Invalid
from ..errors import WrongUsage
from .caller import Caller, write_json
from .fields import MAX_PROMPT_BYTES, to_item


@click.command(short_help="Add one item and print its id")
@click.argument("prompt", required=False)
@click.option("--command", metavar="CMD", help="A shell command that is the work; a prompt is its standard input.")
@click.option("--prompt-file", metavar="FILE", help="Read the prompt from FILE, or from standard input (-).")
@click.option("--title", help="One line for lists and commits; without it, the first line of the work.")
@click.option("--id", "id", help="Its name from now on; without it, one is made from the title.")
@click.option("--priority", metavar="P", help="high, medium (the default), low, or 0 (most urgent) to 9.")
@click.option("--after", metavar="ID", multiple=True, help="Wait until that item is done. May be repeated.")
@click.option("--role", help="A kind of work from `roles:` of the configuration.")
@click.option("--program", help="What runs it: shell, or a name from `programs:` of the configuration.")
@click.option(
    "--paths",
    metavar="GLOB",
    multiple=True,
    help="What it will change: not started beside what overlaps. May be repeated.",
)
@click.option("--timeout", metavar="DUR", help="How long one attempt may take: 90s, 20m, 1h30m; a bare 5 is 5 seconds.")
@click.option("--max-attempts", metavar="N", type=int, help="How many attempts it has, 1 to 1000.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole item, as `list --json` does.")
@click.pass_obj
def add(caller: Caller, /, prompt_file: str | None, as_json: bool, **options: Any) -> None:
    """Add one item to the queue and print its id.

    The work is a PROMPT for an agent program, or a shell command. It can be added before, while and after a
    coordinator runs, from any folder of the repository, and by a program that works on another item.

    \b
    Example:
      parallel-loop add 'Fix the login form: an empty password crashes it' --id fix-login --priority high
      parallel-loop add --command 'make docs' --after fix-login
    """
    given = {name: _plain(value) for name, value in options.items() if value not in (None, ())}
    if prompt_file is not None:
        if "prompt" in given:
            raise WrongUsage("PROMPT and --prompt-file are both given; leave one of them out")
        given["prompt"] = _read_prompt(prompt_file)
    project = caller.project()
    try:
        item = to_item(given, project.config)
    except Invalid as error:
        raise WrongUsage(_explain(error.path, error.problem)) from None
    project.state.create()
    [added] = project.queue.add([item])
    if as_json:
        from ...queue.records import Entry
        from ..drawing.views import item_row

        entry = Entry(added)
        write_json(item_row(entry, project.queue.state(entry)))
    else:
        click.echo(added.id)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read_prompt(name: str) -> str:
    """Return the content of a file, or of standard input for `-`. Raises WrongUsage."""
    shown = "standard input" if name == "-" else name
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_PROMPT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = getattr(error, "strerror", None) or "that is no path"
        raise WrongUsage(
            f"--prompt-file: {shown} cannot be read ({problem}); name a text file, or - to give it here"
        ) from None
    if len(data) > MAX_PROMPT_BYTES:
        problem = f"is larger than {MAX_PROMPT_BYTES:,} bytes; put the rest in a file of the repository"
        raise WrongUsage(f"--prompt-file: {shown} {problem}")
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _explain(path: Keys, problem: str) -> str:
    """Name the field as the command line does."""
    if not path:
        return f"the item {problem}"
    if path[0] == "prompt":
        return f"the prompt {problem}"
    return f"--{str(path[0]).replace('_', '-')}: {problem}"
