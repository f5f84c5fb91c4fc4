from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_loop.harness.configuration.units import (
    LONGEST_SECONDS,
    format_duration,
    parse_duration,
    parse_percent,
    parse_size,
)

DURATION_HINT = "write for example 90s, 20m, 1h30m or 500ms"
SIZE_HINT = "write for example 512MB, 2GB or 1GiB"
SHARE_HINT = "write for example 50% or 200%"


@pytest.mark.parametrize(
    ("given_text", "seconds"),
    [
        ("90s", 90), ("20m", 1200), ("1h", 3600), ("1h30m", 5400), ("1h 05m", 3900), ("500ms", 0.5), ("1.5h", 5400),
        ("2d", 172800), (" 12.3 s ", 12.3), ("1m500ms", 60.5), ("0s", 0), ("90", 90), (90, 90), (0.25, 0.25), (0, 0),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_seconds(given_text: object, seconds: float) -> None:
    assert parse_duration(given_text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("soon", f"'soon' is not a duration; {DURATION_HINT}"),
        ("", f"'' is not a duration; {DURATION_HINT}"),
        ("-5s", f"'-5s' is not a duration; {DURATION_HINT}"),
        ("30m1h", f"'30m1h' is not a duration; {DURATION_HINT}"),
        ("1h1h", f"'1h1h' is not a duration; {DURATION_HINT}"),
        ("5 minutes", f"'5 minutes' is not a duration; {DURATION_HINT}"),
        ("1 0s", f"'1 0s' is not a duration; {DURATION_HINT}"),
        ("٣s", f"'٣s' is not a duration; {DURATION_HINT}"),
        (-1, f"-1 is not a duration; {DURATION_HINT}"),
        (math.nan, f"nan is not a duration; {DURATION_HINT}"),
        (math.inf, f"inf is not a duration; {DURATION_HINT}"),
        (True, f"true is not a duration; {DURATION_HINT}"),
        (None, f"nothing is not a duration; {DURATION_HINT}"),
        (["1h"], f"a list is not a duration; {DURATION_HINT}"),
        ("99999h", f"'99999h' is longer than ten years; {DURATION_HINT}"),
        ("9" * 400 + "h", f"'{'9' * 59}…' is longer than ten years; {DURATION_HINT}"),
        pytest.param(10**5000, f"a huge number is longer than ten years; {DURATION_HINT}", id="5000 digits"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_is_accepted(value: object, message: str) -> None:
    with pytest.raises(ValueError, match="; write for example 90s") as caught:
        parse_duration(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given_text", "size"),
    [
        ("512MB", 512_000_000), ("2GB", 2_000_000_000), ("1GiB", 2**30), ("1.5 kb", 1500), ("64KiB", 65536), ("7B", 7),
        ("1TiB", 2**40), ("1tb", 10**12), ("4096", 4096), (4096, 4096), (0, 0),
    ],
)  # fmt: skip
def test_a_size_is_read_as_bytes(given_text: object, size: int) -> None:
    read = parse_size(given_text)
    assert (read, type(read)) == (size, int)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2G", f"'2G' is not a size; {SIZE_HINT}"),
        ("lots", f"'lots' is not a size; {SIZE_HINT}"),
        ("-1MB", f"'-1MB' is not a size; {SIZE_HINT}"),
        (-1, f"-1 is not a size; {SIZE_HINT}"),
        (1.5, f"1.5 is not a size; {SIZE_HINT}"),
        (False, f"false is not a size; {SIZE_HINT}"),
        ({}, f"a mapping is not a size; {SIZE_HINT}"),
        ("9999999TB", f"'9999999TB' is larger than any machine; {SIZE_HINT}"),
        ("9" * 400, f"'{'9' * 59}…' is larger than any machine; {SIZE_HINT}"),
        ("9" * 400 + "TB", f"'{'9' * 59}…' is larger than any machine; {SIZE_HINT}"),
        pytest.param(10**5000, f"a huge number is larger than any machine; {SIZE_HINT}", id="5000 digits"),
    ],
)
def test_what_is_no_size_is_refused_with_what_is_accepted(value: object, message: str) -> None:
    with pytest.raises(ValueError, match="; write for example 512MB") as caught:
        parse_size(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given_text", "cores"), [("50%", 0.5), ("100 %", 1), ("250%", 2.5), ("0%", 0), ("12.5%", 0.125)]
)
def test_a_percentage_is_read_as_processor_cores(given_text: str, cores: float) -> None:
    assert parse_percent(given_text) == cores


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("50", f"'50' is not a share of a processor core; {SHARE_HINT}"),
        (1.5, f"1.5 is not a share of a processor core; {SHARE_HINT}"),
        ("-5%", f"'-5%' is not a share of a processor core; {SHARE_HINT}"),
        ("nan%", f"'nan%' is not a share of a processor core; {SHARE_HINT}"),
        ("999999%", f"'999999%' is more than 1024 cores; {SHARE_HINT}"),
    ],
)
def test_what_is_no_share_is_refused_with_what_is_accepted(value: object, message: str) -> None:
    with pytest.raises(ValueError, match="core") as caught:
        parse_percent(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.35, "350 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s"), (59.94, "59.9 s"), (59.96, "1m 00s"),
        (245, "4m 05s"), (3599.6, "1h 00m"), (3900, "1h 05m"), (86399, "1d 00h"), (183600, "2d 03h"),
        (-3, "0 ms"), (math.nan, "?"), (math.inf, "?"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=LONGEST_SECONDS))
def test_a_shown_duration_reads_back_within_the_unit_it_shows(seconds: float) -> None:
    tolerance = (
        0.0006 if seconds < 1 else 0.06 if seconds < 60 else 0.51 if seconds < 3600 else 31 if seconds < 86400 else 1801
    )
    assert abs(parse_duration(format_duration(seconds)) - seconds) <= tolerance


@given(st.text() | st.floats() | st.integers() | st.none() | st.booleans())
def test_whatever_is_given_the_answer_is_in_range_or_a_value_error(value: object) -> None:
    for parse in (parse_duration, parse_size, parse_percent):
        with contextlib.suppress(ValueError):
            assert 0 <= parse(value) < math.inf  # type: ignore[operator]
