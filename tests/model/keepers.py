"""What others do: take back from the dead, heal, cancel, pack what is done, finish an import."""

from __future__ import annotations

from collections.abc import Iterator

from .states import RECLAIMING, Process, State, Turn, Violation, canonical, prefix
from .workers import NOTED, OWNING

IMPORTING = {"go on importing", "link item", "offer first", "end import"}


# --- taking back ------------------------------------------------------------------------------------------


def see_the_dead(now: Turn) -> Iterator[State]:
    """Choose a worker whose lock is free, and follow its note."""
    for other in set(now.others):
        if other.step == "dead":
            yield now.about("read chain", other.item, 0, other.number)
    if now.mutant == "chain read before the lock":  # where nothing is claimed, a note is good for nothing
        for other in now.others:
            if other.step in NOTED and len(now.items[other.item].records) < other.number:
                yield now.about("drop note if dead", other.item, 0, other.number)


def read_chain(now: Turn) -> Iterator[State]:
    records = prefix(now.item.records)
    step, number = "drop note", 0
    if now.item.anchor and records[-1:] == "c":
        step, number = "probe owner", len(records)
    elif now.item.anchor and records[-1:] == "r":
        step, number = "offer again", len(records) - 1
    yield now.about(step, now.me.item, number, now.me.note)


def probe_owner(now: Turn) -> Iterator[State]:
    """Try the lock of the claim itself: it may be that of another than the one whose note led here."""
    dead = now.mutant == "take back by age" or not _owner_lives(now)
    take_back = "break claim" if now.mutant == "broken by unlink" else "link release"
    yield now.then(take_back if dead else "drop note")


def break_claim(now: Turn) -> Iterator[State]:
    after = now.unlink(now.me.number)
    yield now.then("drop note", now.put(after._replace(highest=len(after.records))))


def link_release(now: Turn) -> Iterator[State]:
    after = now.link(now.me.number + 1, "r")
    if after is None:
        yield now.then("idle")
        return
    if now.item.anchor and now.me.step == "link release" and _owner_lives(now):
        raise Violation("a claim is taken back from a living worker")
    checked = "drop note" if now.mutant == "note dropped before the hint" else "check taken back"
    yield now.then(checked, after)


def check_taken_back(now: Turn) -> Iterator[State]:
    yield now.then("offer again" if now.item.anchor else "withdraw")


def offer_again(now: Turn) -> Iterator[State]:
    after = now.offer(now.me.number + 2)
    yield now.then("drop note" if now.me.note else "idle", after)


def drop_note(now: Turn) -> Iterator[State]:
    """Remove the dead worker's note; whoever is at the same one finds it gone."""
    after, dropped = [], False
    for other in now.others:
        same = other.item == now.me.item
        if same and not dropped and other.step == "dead" and other.number == now.me.note:
            dropped = True
            after.append(Process("buried"))
        elif same and other.step in RECLAIMING and other.note == now.me.note:
            after.append(other._replace(note=0))
        else:
            after.append(other)
    me = Process("idle")
    if now.mutant == "note dropped before the hint" and now.me.number:
        me = Process("offer again", now.me.item, now.me.number)
    yield canonical(now.items, (me, *after), now.chances)


def _owner_lives(now: Turn) -> bool:
    claim = (now.me.item, now.me.number)
    return any(other.step in OWNING and (other.item, other.number) == claim for other in now.others)


def see_missing_hints(now: Turn) -> Iterator[State]:
    """Heal: read every chain, and make the hints that should be there."""
    for index, item in enumerate(now.items):
        number = len(item.records)
        if item.anchor and item.records[-1:] in ("", "r") and str(number + 1) not in item.hints:
            yield now.about("offer again", index, number - 1)


# --- cancelling, packing, importing -----------------------------------------------------------------------


def link_cancel(now: Turn) -> Iterator[State]:
    after = now.link(now.me.number + 1, "x")
    yield now.then("idle" if after is None else "check cancel", after)


def check_cancel(now: Turn) -> Iterator[State]:
    yield now.then("idle" if now.item.anchor else "withdraw")


def see_done(now: Turn) -> Iterator[State]:
    """Choose an item that is done, or one that somebody began to pack."""
    first = "unlink item" if now.mutant == "pack after the anchor" else "link pack"
    second = "unlink records" if now.mutant == "records before the anchor" else "unlink item"
    for index, item in enumerate(now.items):
        if item.packed and not item.anchor and item.records:
            yield now.about("unlink records", index)
        elif item.anchor and item.records[-1:] == "d":
            yield now.about(second if item.packed else first, index)


def link_pack(now: Turn) -> Iterator[State]:
    second = "unlink records" if now.mutant == "records before the anchor" else "unlink item"
    yield now.then(second, now.put(now.item._replace(packed=True)))


def unlink_item(now: Turn) -> Iterator[State]:
    yield now.then("unlink records", now.put(now.item._replace(anchor=False, highest=0)))


def unlink_records(now: Turn) -> Iterator[State]:
    present = [number for number, kind in enumerate(now.item.records, 1) if kind != "."]
    if present:
        after = now.put(now.unlink(present[0]))
        yield now.then("unlink records" if len(present) > 1 else "idle", after)
    else:
        yield now.then("idle")


def see_import(now: Turn) -> Iterator[State]:
    """Take the lock of adding, which is free when no living process holds it."""
    if now.chances.importing and not any(other.step in IMPORTING for other in now.others):
        yield now.about("go on importing")


def go_on_importing(now: Turn) -> Iterator[State]:
    """Do what an import that was interrupted did not do yet: look for the anchor first, for a pack second."""
    todo = False
    for index, item in enumerate(now.items):
        if not item.anchor and (not item.packed or now.mutant == "imported again"):
            todo = True
            yield now.about("link item", index)
        elif item.anchor and not item.hints:
            todo = True
            yield now.about("offer first", index)
    if not todo:
        yield now.about("end import")


def link_item(now: Turn) -> Iterator[State]:
    yield now.then("offer first", now.put(now.item._replace(anchor=True)))


def offer_first(now: Turn) -> Iterator[State]:
    yield now.then("go on importing", now.offer(1))


def end_import(now: Turn) -> Iterator[State]:
    now.chances = now.chances._replace(importing=False)
    yield now.then("idle")


STEPS = {
    "read chain": read_chain,
    "probe owner": probe_owner,
    "link release": link_release,
    "link misjudged release": link_release,
    "check taken back": check_taken_back,
    "offer again": offer_again,
    "drop note": drop_note,
    "link cancel": link_cancel,
    "check cancel": check_cancel,
    "link pack": link_pack,
    "unlink item": unlink_item,
    "unlink records": unlink_records,
    "go on importing": go_on_importing,
    "link item": link_item,
    "offer first": offer_first,
    "end import": end_import,
}
MUTANT_STEPS = {"break claim": break_claim, "drop note if dead": drop_note}
