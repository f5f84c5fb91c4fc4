"""The signs and styles that go with the words for health and state; nothing is said by them alone."""

from __future__ import annotations

# By word: the sign, the one for terminals that know ASCII only, and the name of the style.
HEALTH = {
    "starting": ("○", "o", "busy"),
    "well": ("●", "*", "good"),
    "no-room": ("▲", "!", "warn"),
    "busy-silent": ("◍", "*", "good"),
    "silent": ("▲", "!", "warn"),
    "looping": ("▲", "!", "warn"),
    "over-limit": ("▲", "!", "warn"),
    "dead": ("✗", "x", "bad"),
    "failing": ("✗", "x", "bad"),
    "finishing": ("◐", "-", "busy"),
    "off": ("·", ".", "dim"),
}

STATES = {
    "ready": ("○", "o", ""),
    "blocked": ("◌", ":", "dim"),
    "delayed": ("◔", "~", "warn"),
    "working": ("●", "*", "busy"),
    "landing": ("▶", ">", "busy"),
    "waiting": ("?", "?", "warn"),
    "done": ("✓", "+", "good"),
    "failed": ("✗", "x", "bad"),
    "cancelled": ("-", "-", "dim"),
}

COORDINATOR_STYLES = {"running": "good", "paused": "warn", "finishing": "busy", "stopping": "warn", "stopped": "dim"}
