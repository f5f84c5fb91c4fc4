"""What a worker does: see a hint, note it, link the claim, look, work, link the outcome, look, make the next hint."""

from __future__ import annotations

from collections.abc import Iterator

from .states import State, Turn, Violation, prefix

# The steps in which a worker's note names its claim, and those in which its claim is a link of its locked marker.
NOTED = {
    *("link claim", "read back", "check claim", "withdraw claim", "work"),
    *("check done", "withdraw done", "check release", "withdraw release", "offer next"),
}
OWNING = {"write note", "read back", "check claim", "work"}  # the first one in a mutant only


def see_hints(now: Turn) -> Iterator[State]:
    """Choose any hint that was ever made and whose number the record before allows; write the note."""
    for index, item in enumerate(now.items):
        for number in map(int, item.hints):
            if number == 1 or item.records[number - 2 : number - 1] == "r":
                yield now.about("link unnoted" if now.mutant == "note after the link" else "link claim", index, number)


def link_claim(now: Turn) -> Iterator[State]:
    if now.item.anchor and now.item.packed and now.is_free(now.me.number):
        raise Violation("a packed item is taken")
    after = now.link(now.me.number, "c")
    if after is None:
        yield now.then("idle")
        return
    step = "write note" if now.me.step == "link unnoted" else "read back"
    yield now.then(step, after, note=int(now.item.anchor))


def write_note(now: Turn) -> Iterator[State]:
    yield now.then("read back")


def read_back(now: Turn) -> Iterator[State]:
    """See whether the claim was ended meanwhile, as by a person who cancels."""
    still_open = len(prefix(now.item.records)) == now.me.number
    yield now.then("check claim" if still_open else "idle")


def check_claim(now: Turn) -> Iterator[State]:
    if not (now.item.anchor or now.mutant == "no look at the anchor"):
        yield now.then("withdraw claim")
        return
    if not now.me.note:
        raise Violation("a packed item is taken")
    yield now.then("work")


def end_attempt(now: Turn) -> Iterator[State]:
    number = now.me.number + 1
    if now.mutant == "no number":
        number = len(prefix(now.item.records)) + 1
    if now.item.anchor and len(now.item.records) + 1 == number != now.me.number + 1:
        raise Violation("an outcome by a worker whose claim was taken back")
    after = now.link(number, "d")
    if after is None:
        yield now.then("idle")
        return
    yield now.then("check done", after, note=int(now.item.anchor))
    if now.chances.releases:
        after = now.link(number, "r")
        now.chances = now.chances._replace(releases=now.chances.releases - 1)
        yield now.then("check release", after)


def check_done(now: Turn) -> Iterator[State]:
    """Find out whether the outcome counts: by the anchor, and when that is gone by what the pack says."""
    if now.item.anchor or (now.me.note and now.mutant != "no look into the pack"):
        if not now.me.note:
            raise Violation("a worker is told that its outcome counts, and it does not")
        yield now.then("idle")
        return
    if now.me.note:
        raise Violation("a worker is told that its outcome does not count, and it does")
    yield now.then("idle" if now.mutant == "no look at the anchor" else "withdraw done")


def check_release(now: Turn) -> Iterator[State]:
    yield now.then("offer next" if now.item.anchor else "withdraw release")


def offer_next(now: Turn) -> Iterator[State]:
    yield now.then("idle", now.offer(now.me.number + 2))


def withdraw(now: Turn) -> Iterator[State]:
    """Remove what was linked where no anchor is any more."""
    number = now.me.number + (now.me.step != "withdraw claim")
    yield now.then("idle", now.put(now.unlink(number)))


STEPS = {
    "link claim": link_claim,
    "read back": read_back,
    "check claim": check_claim,
    "work": end_attempt,
    "check done": check_done,
    "check release": check_release,
    "offer next": offer_next,
    "withdraw claim": withdraw,
    "withdraw done": withdraw,
    "withdraw release": withdraw,
    "withdraw": withdraw,
}
MUTANT_STEPS = {"link unnoted": link_claim, "write note": write_note}
