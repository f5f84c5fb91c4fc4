"""`parallel-loop import`: many items at once, all or none."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...harness.configuration.config import Config
from ...harness.configuration.documents import DocumentError, decode
from ...harness.configuration.schema import Invalid, dotted
from ...harness.configuration.settings import ConfigError
from ...queue.adding import InvalidItem
from ...queue.records import Item
from ..errors import WrongUsage
from .caller import Caller, write_json
from .entries import Entry, read_items
from .fields import to_item


@click.command("import", short_help="Add many items from a file, all or none, and print their ids")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the items as one list, as `list --json` does.")
@click.pass_obj
def import_items(caller: Caller, file: str, as_json: bool) -> None:
    """Add the items of FILE (- is standard input), and print their ids in the same order.

    FILE is a YAML or JSON list, or has one JSON object on each line. An entry has the fields prompt, command,
    title, id, priority, after, role, program, paths, timeout and max_attempts, which mean what the options of `add`
    mean. Entries may wait for each other whatever their order. One bad entry is named, and then none is added.

    \b
    Example of a FILE:
      - {id: pages, command: make pages, title: Write the pages}
      - {prompt: Proofread the pages, program: mine, after: [pages], priority: high, timeout: 20m}
    """
    name = "standard input" if file == "-" else file
    entries = read_items(decode(_read(file, name), name), name)
    project = caller.project()
    items = [_item(entry, name, project.config) for entry in entries]
    added: list[Item] = []
    if items:
        project.state.create()
        try:
            added = project.queue.add(items)
        except InvalidItem as error:
            raise _bad(name, entries[error.index], error.problem) from None
    if as_json:
        from ...queue.records import Entry as Chain
        from ..drawing.views import item_row

        chains = [Chain(item) for item in added]
        write_json([item_row(chain, project.queue.state(chain)) for chain in chains])
        return
    if added:
        click.echo("\n".join(item.id for item in added))
    click.echo(f"{len(added)} {'item' if len(added) == 1 else 'items'} added", err=True)


def _read(file: str, name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = getattr(error, "strerror", None) or "that is no path"
        raise WrongUsage(f"{name} cannot be read ({problem}); name a file of items, or - to give them here") from None


def _item(entry: Entry, name: str, config: Config) -> Item:
    try:
        return to_item(entry.fields, config)
    except Invalid as error:
        problem = f"{dotted(error.path)}: {error.problem}" if error.path else error.problem
        raise _bad(name, entry, problem) from None
    except ConfigError as error:
        raise _bad(name, entry, str(error)) from None


def _bad(name: str, entry: Entry, problem: str) -> DocumentError:
    return DocumentError(name, None, f"{entry.where}: {problem} (nothing was added)")
