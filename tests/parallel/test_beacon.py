"""What follows from the beacons of all processes."""

from __future__ import annotations

from chomp.parallel.beacon import Beacon, Heard, Limits, find_lost, slowest
from chomp.parallel.members import Member

LIMITS = Limits(lost_after_seconds=15, stall_after_seconds=100)
MEMBERS = [Member(index, f"host{index}", 100 + index) for index in range(3)]


def heard(*beacons: Beacon, at: float = 0.0) -> dict[Member, Heard]:
    told = {}
    for member, beacon in zip(MEMBERS, beacons, strict=False):
        told[member] = Heard()
        told[member].take(beacon.encode(1), at)
    return told


def test_a_silent_process_is_lost_by_the_readers_clock() -> None:
    all_heard = heard(*(Beacon("train", step=7) for _ in MEMBERS))
    assert find_lost(all_heard, LIMITS, 15.0) is None
    for member in MEMBERS[:2]:
        all_heard[member].take(Beacon("train", step=7).encode(2), 14.0)
    sentence = "process 2 (pid 102 on host2) was not heard of for 16 s, last heard at step 7"
    assert find_lost(all_heard, LIMITS, 16.0) == sentence
    # Its beacon may say what it said before; only that it was sent again counts.
    all_heard[MEMBERS[2]].take(Beacon("train", step=7).encode(2), 16.0)
    assert find_lost(all_heard, LIMITS, 20.0) is None


def test_while_it_starts_a_process_may_be_silent_for_longer() -> None:
    assert find_lost(heard(*(Beacon("start") for _ in MEMBERS)), LIMITS, 40.0) is None


def test_a_reader_that_was_stopped_itself_accuses_no_other() -> None:
    all_heard = heard(*(Beacon("train") for _ in MEMBERS))
    for one in all_heard.values():
        one.was_suspended(300.0)
    assert find_lost(all_heard, LIMITS, 301.0) is None


def stuck(*beacons: Beacon) -> str | None:
    """What is found of processes that are alive for 150 s and make no progress."""
    all_heard = heard(*beacons)
    for member, beacon in zip(MEMBERS, beacons, strict=True):
        all_heard[member].take(beacon.encode(2), 149.0)
    return find_lost(all_heard, LIMITS, 150.0)


def test_all_wait_for_the_one_that_has_not_begun_the_step() -> None:
    ahead, behind = Beacon("train", step=8, dispatched=10, marks=3), Beacon("train", step=8, dispatched=9, marks=3)
    made = "made no progress for 150 s in the phase 'train'"
    assert stuck(ahead, behind, ahead) == f"process 1 (pid 101 on host1) is alive and {made}, last heard at step 8"
    assert stuck(ahead, ahead, ahead) == f"all processes are alive, and none {made}, last heard at step 8"


def test_phases_have_limits_of_their_own() -> None:
    for phase in ("start", "compile", "eval", "sample", "save", "paused"):
        assert stuck(*(Beacon(phase) for _ in MEMBERS)) is None, phase
    moving = heard(*(Beacon("train", marks=1) for _ in MEMBERS))
    for member in MEMBERS:
        moving[member].take(Beacon("train", marks=2).encode(2), 149.0)
    assert find_lost(moving, LIMITS, 150.0) is None


def test_the_slowest_host_is_known_when_all_have_told() -> None:
    told = [Beacon(host_seconds=seconds) for seconds in (0.1, 0.5, 0.2)]
    found = slowest(heard(*told))
    assert found is not None
    assert (found.index, found.seconds, found.median_seconds) == (1, 0.5, 0.2)
    assert slowest(heard(told[0], Beacon(), told[2])) is None
