from __future__ import annotations

import errno
from pathlib import Path

import pytest

from parallel_loop.queue import atomic
from parallel_loop.queue.adding import InvalidItem, complete
from parallel_loop.queue.healing import heal
from parallel_loop.queue.imports import ImportUnfinished
from parallel_loop.queue.store import Queue
from support.queue_checker import read_chains
from support.queues import AT_ONCE, START, add, an_item, append, drain, make_queue, make_taker, names_in
from support.steps import Killed


@pytest.fixture
def queue(tmp_path):
    return make_queue(tmp_path / "queue")


def ids(queue) -> set[str]:
    return set(read_chains(queue.layout.root))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"item_id": "../x"}, "must begin with a letter or digit"),
        ({"item_id": "x" * 300}, "300 characters"),
        ({"item_id": "known"}, "already an item 'known' in the queue"),
        ({"item_id": "good"}, "already an item 'good' earlier in this list"),
        ({"item_id": "bad", "after": ("nowhere",)}, "waits for 'nowhere', but there is no such item"),
        ({"item_id": "bad", "after": ("bad",)}, "in a circle: bad -> bad"),
        ({"item_id": "bad", "after": ("../../known",)}, "no such item"),
        ({"item_id": "bad", "priority": 10}, "cannot be stored"),
        ({"item_id": "bad", "priority": -1}, "cannot be stored"),
        ({"item_id": "bad", "role": "../../etc"}, "cannot be stored"),
        ({"item_id": "bad", "prompt": "half \ud800"}, "not valid Unicode"),
        ({"item_id": "bad", "prompt": "x" * (17 * 1024 * 1024)}, "bytes, at most"),
    ],
)
def test_one_bad_item_is_named_and_none_is_added(queue, bad, problem) -> None:
    add(queue, "known")
    with pytest.raises(InvalidItem) as refusal:
        queue.add([an_item("good"), an_item("another"), an_item(**bad)])
    assert refusal.value.index == 2
    assert problem in refusal.value.problem
    assert ids(queue) == {"known"}
    assert drain(queue, make_taker(queue)) == ["known"]


def test_a_cycle_among_new_items_is_named_in_full(queue) -> None:
    with pytest.raises(InvalidItem, match="a -> b -> c -> a"):
        queue.add([an_item("a", after=("b",)), an_item("b", after=("c",)), an_item("c", after=("a",))])
    assert ids(queue) == set()


def test_a_long_chain_and_a_wide_diamond_are_no_cycles(queue) -> None:
    chain = [an_item(f"c{index}", after=(f"c{index - 1}",) if index else ()) for index in range(2000)]
    wide = [an_item(f"w{index}", after=("c1999",)) for index in range(50)]
    queue.add([*wide, an_item("top", after=tuple(item.id for item in wide)), *chain])
    assert queue.entry("top").item.after[-1] == "w49"


def test_items_without_an_id_get_one_from_their_title(queue) -> None:
    added = queue.add([an_item("", title=title) for title in ("Fix it", "fix it!", "Fix IT", "")])
    assert [item.id for item in added] == ["fix-it", "fix-it-2", "fix-it-3", "item"]
    assert queue.add([an_item("", title="fix it")])[0].id == "fix-it-4"


def test_ten_thousand_equal_titles_get_ids_without_trying_each_number_again() -> None:
    asked = []
    items = complete(
        [an_item("", title="same")] * 10_000, lambda item_id: bool(asked.append(item_id)), "2026-01-01T00:00:00.000000Z"
    )
    assert len({item.id for item in items}) == 10_000
    assert len(asked) == 10_000


def test_hostile_text_comes_back_as_it_was(queue) -> None:
    prompt = 'NUL \0 quote " newline \n 🙂 \x1b[31m ' + "x" * 1_000_000
    add(queue, "a", prompt=prompt, title="\0", command="a\0b")
    assert make_taker(queue).take().item.prompt == prompt


def test_items_are_plain_files_that_can_be_read_with_cat(queue) -> None:
    add(queue, "fix-login", prompt="Fix the login", priority=1)
    text = next(queue.layout.items.glob("*/fix-login.json")).read_text()
    assert '"prompt": "Fix the login"' in text
    assert text.count("\n") > 3
    assert text.endswith("}\n")
    readme = (queue.layout.root / "README").read_text()
    assert "Do not edit" in readme
    for folder in names_in(queue.layout.root):
        assert folder in readme or folder in {"README", "format.json", "add.lock"}


@pytest.mark.parametrize("survivors", [0, 1, 3])
@pytest.mark.parametrize("finish", ["add", "heal"])
def test_an_import_that_was_killed_half_way_is_finished_by_the_next(queue, monkeypatch, survivors, finish) -> None:
    link, linked = atomic.link_once, []

    def die_after_some(source, target):
        if len(linked) == survivors + 1:  # the first is the import itself
            raise Killed
        linked.append(target)
        return link(source, target)

    items = [an_item(f"i{index}", after=("i0",) if index else ()) for index in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "link_once", die_after_some)
        with pytest.raises(Killed):
            queue.add(items)
    other = Queue(queue.layout.root, durable=False)
    if finish == "add":
        add(other, "next")
    else:
        heal(other, AT_ONCE)
    expected = ["i0", "i1", "i2", "i3"] + ["next"] * (finish == "add")
    assert ids(other) == set(expected)
    assert sorted(drain(other, make_taker(other))) == expected
    assert names_in(queue.layout.imports) == []


def test_an_import_finished_twice_changes_nothing_of_what_happened_since(queue) -> None:
    queue.add([an_item("a"), an_item("b")])
    taker = make_taker(queue)
    assert drain(queue, taker) == ["a", "b"]
    items = ",".join(Path(queue.layout.item(name)).read_text() for name in ("a", "b"))
    (queue.layout.imports / "0123456789abcdef.json").write_text(f"[{items}]")  # as after a power cut that kept the file
    heal(queue, AT_ONCE)
    assert taker.take() is None
    assert names_in(queue.layout.imports) == []


def test_foreign_files_among_the_imports_stop_nobody_and_stay(queue, tmp_path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('[{"id": "outside", "title": "t", "added_at": "2026-01-01T00:00:00.000000Z"}]')
    imports = queue.layout.imports
    item = f'"title": "t", "added_at": "{START}"'
    (imports / "a.json").write_text("garbage")
    (imports / "b.json").write_text(f'[{{"id": "../../../x", {item}}}]')
    (imports / "c.json").write_text(f'[{{"id": "new", {item}, "version": 9}}]')
    (imports / "d.json").symlink_to(outside)
    (imports / "e.json").write_text("[" * 100_000)
    (imports / "f").mkdir()
    for path in list(imports.iterdir()):
        path.rename(imports / f"{path.stem * 16}.json")  # a name of ours
    before = names_in(imports)
    queue.add([an_item("one"), an_item("two")])
    heal(queue, AT_ONCE)
    assert names_in(imports) == before
    assert ids(queue) == {"one", "two"}
    assert not (tmp_path / "x.json").exists()


def test_a_full_disk_during_an_import_adds_nothing_and_leaves_nothing(queue, monkeypatch) -> None:
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            queue.add([an_item("a"), an_item("b")])
        with pytest.raises(OSError, match="No space left"):
            add(queue, "c")
    assert ids(queue) == set()
    assert names_in(queue.layout.drafts) == names_in(queue.layout.imports) == []
    queue.add([an_item("a"), an_item("b")])
    assert drain(queue, make_taker(queue)) == ["a", "b"]


def test_an_import_that_meets_a_full_disk_half_way_is_accepted_and_finished_later(queue, monkeypatch) -> None:
    write, written = atomic.write_private, []

    def full_after_one(private, data, **more):
        if len(written) == 2:  # the import itself and one item
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(data)
        return write(private, data, **more)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_private", full_after_one)
        with pytest.raises(ImportUnfinished, match="do not import them again") as failure:
            queue.add([an_item("a"), an_item("b")])
    assert failure.value.errno == errno.ENOSPC
    add(queue, "c")
    assert drain(queue, make_taker(queue)) == ["a", "b", "c"]


def test_an_import_killed_before_its_hints_is_finished_with_them(queue, monkeypatch) -> None:
    def die(*_args, **_more):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "refresh_hints", die)
        with pytest.raises(Killed):
            queue.add([an_item("a"), an_item("b")])
    add(queue, "c")
    assert drain(queue, make_taker(queue)) == ["a", "b", "c"]


def test_a_queue_that_is_added_to_durably_is_the_same_queue(tmp_path) -> None:
    queue = Queue(tmp_path / "queue")
    queue.add([an_item("a"), an_item("b")])
    add(queue, "c", after=("b",))
    add(queue, "d")
    append(queue, "d", "cancelled")
    assert drain(queue, make_taker(queue)) == ["a", "b", "c"]
