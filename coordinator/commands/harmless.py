"""What a program printed, made fit for a terminal: colours pass, everything else that would steer it becomes visible.

Guarantees: no escape sequence but colours (and none with ``colour=False``) and no control character but tab and line
break reaches the terminal, wherever the text was cut into pieces.
"""

from __future__ import annotations

import codecs
import re

_COLOUR = r"\x1b\[[0-9;:]{0,64}m"
# C0 and C1 controls, and what turns the direction of text round and so makes it read as something else.
_STEERING = re.compile(
    rf"{_COLOUR}|\r\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]"
)
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,64})?|\r)\Z")


class Harmless:
    """Turns bytes into text that can be shown, piece by piece."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._coloured = False
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def take(self, data: bytes) -> str:
        """Return what can be shown of `data` and what was held back before."""
        text = self._rest + self._decoder.decode(data)
        cut = _UNFINISHED.search(text)
        self._rest = cut[0] if cut else ""
        return _STEERING.sub(self._replace, text[: cut.start()] if cut else text)

    def end(self) -> str:
        """Return what was held back, and put the terminal's colours back."""
        text = _STEERING.sub(self._replace, self._rest + self._decoder.decode(b"", final=True))
        self._rest = ""
        return text + ("\x1b[0m" if self._coloured else "")

    def _replace(self, match: re.Match[str]) -> str:
        found = match[0]
        if found[0] == "\r":
            return "\n"
        if len(found) > 1:
            self._coloured |= self._colour
            return found if self._colour else ""
        code = ord(found)
        if code < 0x20 or code == 0x7F:
            return f"^{chr(code ^ 0x40)}"
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
