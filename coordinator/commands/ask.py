"""`parallel-loop ask`: how a program that works on an item asks for a person."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import WrongUsage
from .decide import joined


@click.command(short_help="Ask for a person, from within a program that works on an item")
@click.argument("reason", nargs=-1, required=True)
def ask(reason: tuple[str, ...]) -> None:
    """Say why a person is needed, then end: for the program that works on an item, not for people.

    What the program has done so far is committed on its branch. The item waits with REASON until somebody answers, and
    then it is worked on again with the answer in its prompt. The last REASON of an attempt counts.

    \b
    Example, in a program:
      parallel-loop ask 'Which of the two login forms is meant?' && exit
    """
    place = os.environ.get("PARALLEL_LOOP_ASK_FILE")
    if not place:
        problem = "only a program that works on an item can ask (PARALLEL_LOOP_ASK_FILE is not set)"
        raise WrongUsage(f"{problem}; run it from there, or see what waits for you with `parallel-loop status`")
    Path(place).write_text(joined(reason, "REASON") + "\n", encoding="utf-8")
    click.echo("asked; end now, and the item waits for a person")
