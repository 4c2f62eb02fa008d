"""Times in words."""

from __future__ import annotations

import time

from chomp.record.formatting import moment, since, when


def test_a_past_time_reads_the_same_all_day() -> None:
    days = ((2026, 11, 29), (2026, 11, 29), (2026, 11, 28), (2025, 3, 1))
    now, *past = (time.mktime((*day, 22, 0, 0, 0, 0, -1)) for day in days)
    assert [when(t, now) for t in past] == [when(t, now + 3600) for t in past] == ["22:00", "Nov 28", "2025"]
    assert [moment(t, now) for t in past] == ["22:00", "Nov 28 22:00", "2025-03-01 22:00"]


def test_an_age_is_told_in_steps():
    ages = {0: "<10s", 9.9: "<10s", 10: "10s", 59: "50s", 60: "1m", 3599: "59m", 3600: "1h", 86399: "23h", 172800: "2d"}
    assert {seconds: since(seconds) for seconds in ages} == ages
