"""inotify: the kernel of Linux says that a file was written to, moved or removed.

Python has no inotify of its own. Through ctypes, as the libraries do that wrap it; see
docs/decisions/0011-waiting-is-left-to-the-kernel.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import Any

_MODIFY, _ATTRIBUTES, _DELETE_SELF, _MOVE_SELF, _DONT_FOLLOW = 0x2, 0x4, 0x400, 0x800, 0x0200_0000
# Removing a file that others have open is told as a change of its attributes (the number of its names).
_MASK = _MODIFY | _ATTRIBUTES | _DELETE_SELF | _MOVE_SELF | _DONT_FOLLOW
_READ_BYTES = 4096


class Inotify:
    """One instance of inotify, of which a user may have `fs.inotify.max_user_instances`. Raises OSError."""

    name = "inotify"

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch: int | None = None

    def _call(self, name: str, *arguments: Any) -> int:
        """Call a function of the C library, which says -1 when it fails."""
        try:
            answer = int(getattr(self._library, name)(*arguments))
        except AttributeError:
            raise OSError(errno.ENOSYS, f"the C library has no {name}") from None
        if answer < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return answer

    def follow(self, path: str, _descriptor: int) -> None:
        """Watch the file that has this name now, and no other any more."""
        if self._watch is not None:
            with contextlib.suppress(OSError):  # the kernel did so when the last name of the old one went
                self._call("inotify_rm_watch", self.descriptor, self._watch)
            self._watch = None
        self._watch = self._call("inotify_add_watch", self.descriptor, os.fsencode(path), ctypes.c_uint32(_MASK))

    def drain(self) -> bool:
        """Forget what was told so far; False when there was nothing. What exactly does not matter: look.

        One read is enough, since the kernel joins equal events: what may be left wakes us once more.
        """
        try:
            return bool(os.read(self.descriptor, _READ_BYTES))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.descriptor)
