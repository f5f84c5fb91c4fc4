"""Whether two lists of paths and patterns can mean the same file. Pure functions.

A text with `*`, `?`, `[` or a backslash is a pattern, and means the files that it means to `git ls-files`: `*`, `**`
and `?` match a slash, too, `[a-z]` and `[!a-z]` are sets, a backslash takes away the meaning of what follows. Any other
is a path, and means a file or all that is in a folder; with a dot in its name it is taken for a file where it is
compared with a pattern. What ends with a slash is a folder. An empty text, `.` and `/` mean everything.

Guarantees: `meet` says yes exactly when some path is meant by both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

_WILD = re.compile(r"[*?\[\\]")
_LAST = 0x10FFFF
_ANY = ((0, _LAST),)
_LONGEST = 1000  # characters of a pattern; of more, only the beginning counts, and all that begins so is meant

Ranges = tuple[tuple[int, int], ...]
_STAR: Ranges = ()  # stands for any run of characters, where all else stands for one


@dataclass(eq=False)
class Pattern:
    """A pattern as a list of steps, and the text that all it means begins with."""

    steps: tuple[Ranges, ...]
    fixed: str
    stars: int  # bits: which steps are stars
    ends: int  # bits: after which steps a path may end
    _fitting: dict[Ranges, int] = field(default_factory=dict)

    def fitting(self, step: Ranges) -> int:
        """Return the places at which some character fits both this and `step`."""
        bits = self._fitting.get(step)
        if bits is None:
            bits = sum(1 << place for place, own in enumerate(self.steps) if _share(own, step))
            self._fitting[step] = bits
        return bits


class Paths:
    """A list of paths and patterns, made ready to be compared with many others."""

    def __init__(self, texts: Iterable[str]) -> None:
        names = {_folder(text) for text in texts}
        self.globs = tuple(sorted(name for name in names if not name or _WILD.search(name)))
        self._plain = names.difference(self.globs)
        bare = {name.rstrip("/") for name in self._plain}
        self._bare = frozenset(bare)
        self._covering = frozenset(part for name in bare for part in _with_folders(name))

    def __bool__(self) -> bool:
        return bool(self._plain or self.globs)

    def meets(self, other: Paths) -> bool:
        """Whether some path is meant by both."""
        if not self._bare.isdisjoint(other._covering) or not other._bare.isdisjoint(self._covering):
            return True
        ours = any(_meet(glob, name) for glob in self.globs for name in (*other._plain, *other.globs))
        return ours or any(_meet(glob, name) for glob in other.globs for name in self._plain)


def normal(text: str) -> str:
    """Return a path as git has it: without `./` before and slashes around it."""
    return _folder(text).rstrip("/")


def _folder(text: str) -> str:
    """Do the same, but leave one slash at the end."""
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    stripped = text.strip("/")
    return "" if stripped in {"", "."} else stripped + "/" * text.endswith("/")


def escaped(path: str) -> str:
    """Return the text that means just this file."""
    return _WILD.sub(r"\\\g<0>", path)


def meet(one: str, other: str) -> bool:
    """Whether some path is meant by both texts."""
    return _meet(_folder(one), _folder(other))


def _meet(one: str, other: str) -> bool:
    wild = _WILD.search(one) is not None, _WILD.search(other) is not None
    a, b = _parsed(one, below=_is_folder(one, wild)), _parsed(other, below=_is_folder(other, wild[::-1]))
    length = min(len(a.fixed), len(b.fixed))
    return a.fixed[:length] == b.fixed[:length] and _intersect(a, b)


def _is_folder(text: str, wild: tuple[bool, bool]) -> bool:
    """Whether what is below counts; `wild`: whether it is a pattern, and whether what it is compared with is one."""
    return text.endswith("/") or not (wild[0] or (wild[1] and "." in text.rpartition("/")[2][1:]))


def _intersect(a: Pattern, b: Pattern) -> bool:
    """Walk both at once: `at` has a bit for each place in `b` that is reached with the same text as `a` is here."""
    at = _skip_stars(1, b)
    for place, step in enumerate(a.steps):
        if a.ends >> place & 1 and at & b.ends:
            return True
        if not at:
            return False
        if step == _STAR:  # it takes whatever `b` asks for
            at = (1 << (len(b.steps) + 1)) - (at & -at)
        else:
            at = _skip_stars((at & b.fitting(step)) << 1 | at & b.stars, b)
    return bool(at & b.ends)


def _skip_stars(at: int, pattern: Pattern) -> int:
    return at | (at & pattern.stars) << 1  # no two stars follow each other


def _share(one: Ranges, other: Ranges) -> bool:
    return any(low <= last and first <= high for low, high in one for first, last in other)


@lru_cache(maxsize=4096)
def _parsed(text: str, *, below: bool) -> Pattern:
    text = text.rstrip("/")
    steps, fixed = list[Ranges](), ""
    cut, place = text if below else text[:_LONGEST], 0
    while place < len(cut):
        step, length = _step(cut, place)
        if step != _STAR or steps[-1:] != [_STAR]:
            steps.append(step)
        if len(fixed) == len(steps) - 1 and len(step) == 1 and step[0][0] == step[0][1]:
            fixed += chr(step[0][0])
        place += length
    end = len(steps)
    whole = cut == text
    if not text or (not whole and steps[-1] != _STAR):
        steps.append(_STAR)
    elif below and steps[-1] != _STAR:
        steps += [((ord("/"),) * 2,), _STAR]
    stars = sum(1 << index for index, step in enumerate(steps) if step == _STAR)
    return Pattern(tuple(steps), fixed, stars, (1 << end if whole else 0) | 1 << len(steps))


def _step(text: str, place: int) -> tuple[Ranges, int]:
    """Return what stands at `place`, and how many characters it takes."""
    character = text[place]
    if character == "*":
        return _STAR, 1
    if character == "?":
        return _ANY, 1
    if character == "[":
        return _set(text, place) or (_one("["), 1)
    if character == "\\" and place + 1 < len(text):
        return _one(text[place + 1]), 2
    return _one(character), 1


def _one(character: str) -> Ranges:
    return ((ord(character), ord(character)),)


_SET = re.compile(r"\[([!^]?)(\]?(?:\[:\w*:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_MEMBER = re.compile(r"(\[:\w*:\])|(\\.|.)(?:-(\\.|[^\]]))?", re.DOTALL)


def _set(text: str, place: int) -> tuple[Ranges, int] | None:
    """Read a set such as `[a-z]`; one of a class such as `[[:alpha:]]`, or with nothing in it, is any character."""
    found = _SET.match(text, place)
    if found is None or not found[2]:
        return None
    ranges = []
    for name, first, last in _MEMBER.findall(found[2]):
        if name:
            return _ANY, len(found[0])
        ranges.append((ord(first[-1]), ord((last or first)[-1])))
    ranges = sorted(pair for pair in ranges if pair[0] <= pair[1])
    if found[1]:
        edges = [(-1, -1), *_merged(ranges), (_LAST + 1, _LAST + 1)]
        ranges = [(low[1] + 1, high[0] - 1) for low, high in pairwise(edges) if low[1] + 1 < high[0]]
    return tuple(ranges) or _ANY, len(found[0])


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged = list[tuple[int, int]]()
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _with_folders(name: str) -> Iterable[str]:
    """Yield the path and each folder that it lies in."""
    place = name.find("/")
    while place > 0:
        yield name[:place]
        place = name.find("/", place + 1)
    yield name


def condensed(paths: Iterable[str], most: int) -> tuple[str, ...]:
    """Return at most `most` paths that cover all of `paths`: of too many, the folders that they lie in."""
    names = sorted(set(paths))
    depth = max((name.count("/") for name in names), default=0)
    while len(names) > most and depth:
        names = sorted({name if name.count("/") < depth else _first(name, depth) for name in names})
        depth -= 1
    return tuple(names) if len(names) <= most else ("",)


def _first(name: str, depth: int) -> str:
    return "/".join(name.split("/")[:depth]) + "/"
