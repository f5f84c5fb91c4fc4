"""`parallel-loop usage`: the tokens and US dollars that attempts used."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ...harness.configuration.units import parse_duration
from ...harness.spending import NOTHING, Spent, spent
from ...queue.clock import later
from ...queue.records import Usage
from ...queue.survey import Survey
from ..drawing.frame import Column, Frame, text_grid
from ..drawing.narration import dollars
from ..errors import WrongUsage
from .caller import Caller, write_json

_GROUPS = ("program", "role", "day", "item")
_MOST_ITEMS = 10  # of those that used most, where all groups are shown
_NUMBERS = (
    Column("ATTEMPTS", right=True),
    Column("READ", right=True),
    Column("CACHED", right=True),
    Column("WRITTEN", right=True),
    Column("DOLLARS", right=True),
)


@dataclass
class Sum:
    """What some attempts used together. `unknown` are those of which nobody can say it."""

    attempts: int = 0
    unknown: int = 0
    usage: Usage = NOTHING

    def add(self, one: Spent) -> None:
        self.attempts += 1
        self.unknown += not one.usage
        self.usage += one.usage

    def row(self) -> dict[str, object]:
        usage = self.usage
        numbers = {"input": usage.input, "cached": usage.cached, "output": usage.output, "usd": _rounded(usage.usd)}
        return {"attempts": self.attempts, "unknown": self.unknown, **numbers}

    def cells(self) -> tuple[str, ...]:
        usage = self.usage
        if self.unknown == self.attempts:  # a nought would say that they used nothing
            return str(self.attempts), "-", "-", "-", "-"
        tokens = (usage.input, usage.cached, usage.output)
        return str(self.attempts), *(f"{number:,}" for number in tokens), dollars(usage.usd)


def _rounded(usd: float | None) -> float | None:
    """Return it without what adding up floats leaves behind."""
    return None if usd is None else round(usd, 6)


@click.command(short_help="Show the tokens and dollars that were used")
@click.option("--by", "group", type=click.Choice(_GROUPS), help="Only this, and all of it.")
@click.option("--since", metavar="DUR", help="Only attempts that ended within this time, for example 8h, 7d.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def usage(caller: Caller, group: str | None, since: str | None, as_json: bool) -> None:
    """Show what attempts used, by program, role, day (UTC) and item: tokens read, read from a cache, written; dollars.

    Only what agent programs say of themselves is known, and not every program says what it costs; `-` is not known.
    Every attempt counts, whatever came of it, and of whichever item, packed or not.

    \b
    Example:
      parallel-loop usage --since 24h
      parallel-loop usage --by item --json
    """
    project = caller.project(only_read=True)
    survey = Survey(project.queue)
    survey.refresh()
    groups: dict[str, dict[str, Sum]] = {name: {} for name in _GROUPS if group in {None, name}}
    total, limit = Sum(), _limit(project.queue.now(), since)
    for entry in survey.each_entry(packed=True):
        for one in spent(entry, project.state, project.config):
            if limit is None or one.end.at >= limit:
                total.add(one)
                for name, sums in groups.items():
                    sums.setdefault(_key(one, name), Sum()).add(one)
    if as_json:
        rows = {name: [{name: key} | one.row() for key, one in _sorted(sums)] for name, sums in groups.items()}
        write_json({"since": limit, "total": total.row(), "by": rows})
        return
    if not total.attempts:
        click.echo("no attempt has ended" + (f" within {since}" if since else ""))
        return
    tables = (_table(name, sums, total, most=None if group else _MOST_ITEMS) for name, sums in groups.items())
    click.echo("\n\n".join("\n".join(lines) for lines in tables if lines))


def _limit(now: str, since: str | None) -> str | None:
    if since is None:
        return None
    try:
        return later(now, -parse_duration(since))
    except ValueError as error:
        raise WrongUsage(f"--since: {error}") from None


def _key(one: Spent, group: str) -> str:
    keys = {"program": one.program, "role": one.item.role or "", "day": one.end.at[:10], "item": one.item.id}
    return keys[group]


def _sorted(sums: dict[str, Sum]) -> list[tuple[str, Sum]]:
    return sorted(sums.items())


def _table(name: str, sums: dict[str, Sum], total: Sum, most: int | None) -> list[str]:
    """Return the lines of one grouping, none where it says nothing."""
    rows = _sorted(sums)
    if name == "item":
        rows = [(key, one) for key, one in rows if one.usage or most is None]
        rows.sort(key=lambda pair: (pair[1].usage.usd or 0.0, pair[1].usage.input + pair[1].usage.output), reverse=True)
    if not rows or (name == "role" and not any(sums)):
        return []
    shown = [(key or "(none)", *one.cells()) for key, one in rows[:most]]
    shown += [("in all", *total.cells())] if name in {"program", "item"} else []
    lines = list(text_grid(Frame.of_stream(), (Column(name.upper(), least=12), *_NUMBERS), shown))
    if most is not None and len(rows) > most:
        lines.append(f"and {len(rows) - most} more; `parallel-loop usage --by {name}` shows them")
    return lines
