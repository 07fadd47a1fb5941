"""I-09, I-10, I-37: nothing behind a kill, what rested is gone, and no crash opens it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.core.order_builders import ACCOUNT, CID, OWNER, fill, intent, report
from tests.unit.sim.checker_bench import BTC, T0, Bench, broken, epoch
from tradefan.messages.orders import OrderStatus
from tradefan.messages.records import CancelIntent, Kill, NotSent, Record, Resume
from tradefan.sim.checkers.healing import CANCELED_NS
from tradefan.sim.checkers.killing import KilledGone, LatchLasts, NothingBehindKill
from tradefan.units import SECOND, ClientOrderId


def kill(scope: str) -> Kill:
    return Kill(T0, scope, "x", "me")


def resume(scope: str) -> Resume:
    return Resume(T0, scope, "x", "me")


def test_creates_when_before_the_answer_refused_or_elsewhere_then_quiet() -> None:
    """I-09: what left before, cancels, what the latch stopped, and another scope's creates."""
    bench = Bench(NothingBehindKill())
    bench.write(CID)
    bench.kill("all")
    bench.write("c2", refused="LATCHED")
    bench.write(CID, "cancel")
    assert bench.look() is None
    other = Bench(NothingBehindKill())
    other.kill("binance:ETH/USDT")
    other.write(CID)
    assert other.look() is None


@pytest.mark.parametrize("scope", ["all", BTC, OWNER, "binance"])
def test_create_when_it_leaves_behind_the_answer_then_broken(scope: str) -> None:
    """I-09: the very next write counts, in each of its scopes."""
    bench = Bench(NothingBehindKill())
    bench.kill(scope)
    at = bench.seen.now_ns
    bench.write(CID)
    broken(bench.look(), "I-09", f"no create of {scope} behind the kill at {at}", f"{CID} written at {at}")


def test_create_when_a_kill_is_recorded_then_broken_without_any_answer() -> None:
    """I-09: a kill by signal is answered by nobody; its record closes from the next step on."""
    bench = Bench(NothingBehindKill())
    bench.append(kill("all"))
    bench.write(CID)
    assert bench.look() is None
    bench.write("c2")
    broken(bench.look(), "I-09", "no create of all", "c2 written")


@pytest.mark.parametrize("scope", ["all", BTC, OWNER, "binance"])
def test_create_when_it_leaves_through_a_closed_latch_then_broken_before_any_answer(scope: str) -> None:
    """I-09: who kills from the rim closes the latch first, and nobody has to record anything."""
    bench = Bench(NothingBehindKill())
    bench.write(CID, "cancel", closed=(scope,))
    bench.write("c2", refused="LATCHED", closed=(scope,))
    bench.write("c3", closed=("binance:ETH/USDT",))
    assert bench.look() is None
    bench.write("c4", closed=(scope,))
    broken(bench.look(), "I-09", f"no create of {scope} while its latch is closed", "c4 written")


def test_create_when_the_scope_was_resumed_then_quiet_and_only_in_that_scope() -> None:
    """I-09: RESUME opens its scope, and no other one."""
    bench = Bench(NothingBehindKill())
    bench.append(kill("all"), kill(BTC))
    bench.kill("all")
    bench.kill(BTC)
    assert bench.look() is None
    assert bench.step(resume(BTC)) is None
    bench.write(CID)
    broken(bench.look(), "I-09", "no create of all", CID)
    assert bench.step(resume("all")) is None
    bench.write("c2")
    assert bench.look() is None


@pytest.mark.parametrize("persisted", [True, False])
def test_create_when_another_process_writes_then_only_a_lasting_kill_forbids_it(persisted: bool) -> None:
    """I-09: `persisted: false` holds until the process ends."""
    bench = Bench(NothingBehindKill())
    bench.kill("all", persisted=persisted)
    assert bench.look() is None
    bench.seen.life = 2
    bench.write(CID)
    violation = bench.look()
    if persisted:
        broken(violation, "I-09", "no create of all", CID)
    else:
        assert violation is None


def test_answer_when_it_comes_behind_the_resume_then_it_closes_nothing() -> None:
    """I-09: a kill that is resumed before it was answered is over; a later one is not."""
    bench = Bench(NothingBehindKill())
    assert bench.step(kill("all"), resume("all")) is None
    bench.kill("all")
    bench.write(CID)
    assert bench.look() is None
    assert bench.look(10 * SECOND) is None
    bench.kill("all")
    bench.write("c2")
    broken(bench.look(), "I-09", "no create of all", "c2")


@pytest.mark.parametrize("how", ["record", "byte", "promise", "neither", "lost", "resumed"])
def test_kill_when_acknowledged_as_persisted_then_record_or_byte_say_so(how: str) -> None:
    """I-10: a durable KILL that no RESUME followed, or the byte; else the acknowledgement came too early."""
    bench = Bench(LatchLasts())
    bench.append(*{"record": (kill(BTC),), "resumed": (kill(BTC), resume(BTC))}.get(how, ()))
    if how == "lost":
        bench.seen.records.append(kill(BTC))
    if how == "resumed":
        assert bench.look() is None
        assert bench.look(10 * SECOND) is None
    bench.seen.kill_byte = int(how == "byte")
    bench.kill(BTC, persisted=how != "promise")
    violation = bench.look()
    if how in ("record", "byte", "promise"):
        assert violation is None
    else:
        broken(violation, "I-10", f"a durable KILL of {BTC}, or the byte", "persisted by neither")


def test_latch_when_closed_at_every_boot_then_quiet() -> None:
    """I-10: the scope itself, or all of them; and what was answered as not persisted may be open."""
    bench = Bench(LatchLasts())
    bench.kill("all", persisted=False)
    assert bench.look() is None
    assert bench.crash(0) is None
    bench.seen.kill_byte = 1
    bench.kill(BTC)
    assert bench.look() is None
    for latched in ((BTC,), ("all",)):
        bench.seen.latched = latched
        assert bench.crash(0) is None


def test_latch_when_open_behind_a_crash_then_broken() -> None:
    """I-10: byte or journal hold what was acknowledged as persisted."""
    bench = Bench(LatchLasts())
    bench.seen.kill_byte = 1
    bench.kill(BTC)
    at = bench.seen.now_ns
    assert bench.look() is None
    bench.seen.latched = ("binance:ETH/USDT",)
    broken(bench.crash(0), "I-10", f"the latch of {BTC} closed since {at}", "closed: ('binance:ETH/USDT',)")


def test_latch_when_only_the_journal_says_so_then_broken_too() -> None:
    """I-10: a KILL record that stands closes at boot, whoever was told."""
    bench = Bench(LatchLasts())
    bench.step(epoch(1), kill("all"))
    broken(bench.crash(2), "I-10", "the latch of all closed", "closed: ()")
    assert bench.crash(1) is None


def test_latch_when_the_resume_was_lost_in_the_crash_then_it_is_still_closed() -> None:
    """I-10: only a RESUME that stands in the records opens."""
    for kept in (2, 1):
        bench = Bench(LatchLasts())
        bench.step(kill("all"))
        bench.kill("all")
        assert bench.look() is None
        assert bench.step(resume("all")) is None
        violation = bench.crash(kept)
        if kept == 2:
            assert violation is None
        else:
            broken(violation, "I-10", "the latch of all closed", "()")


def by_byte(bench: Bench) -> Kill:
    return Kill(bench.seen.now_ns, "all", "the kill byte is set and no record says why", "journal")


@pytest.mark.parametrize("recorded", [False, True])
def test_create_when_the_byte_stood_for_a_lost_kill_then_a_resume_of_all_opens_it(recorded: bool) -> None:
    """I-09: nobody knows its scope any more; one whose record is there stays closed."""
    bench = Bench(NothingBehindKill())
    if recorded:
        assert bench.step(kill(BTC)) is None
    bench.kill(BTC)
    assert bench.look() is None
    assert bench.look(SECOND) is None
    assert bench.step(by_byte(bench)) is None
    assert bench.step(resume("all")) is None
    bench.write(CID)
    violation = bench.look()
    if recorded:
        broken(violation, "I-09", f"no create of {BTC}", CID)
    else:
        assert violation is None
    bench.kill(BTC)
    bench.write("c2")
    broken(bench.look(), "I-09", f"no create of {BTC}", "c2")


@pytest.mark.parametrize("later", [False, True])
def test_latch_when_the_byte_stood_for_a_lost_kill_then_all_is_closed_in_its_stead(later: bool) -> None:
    """I-10: until `all` is resumed; a kill from behind the start that found the byte is another one."""
    bench = Bench(LatchLasts())
    bench.seen.kill_byte = 1
    bench.kill(BTC)
    assert bench.look() is None
    assert bench.look(SECOND) is None
    assert bench.step(by_byte(bench)) is None
    if later:
        assert bench.look(SECOND) is None
        bench.kill(BTC)
        assert bench.look() is None
    assert bench.step(resume("all")) is None
    violation = bench.crash(2)
    if later:
        broken(violation, "I-10", f"the latch of {BTC} closed", "closed: ()")
    else:
        assert violation is None


HEALED = T0 + 100 * SECOND
PATIENCE = (12 + 5) * SECOND + CANCELED_NS
CANCEL = CancelIntent(T0, ACCOUNT, CID, "kill")


def killed(*records: Record, kill: Kill) -> Bench:
    """Return an order of ours that rests at the venue when a kill comes; `records` are of the kill's turn."""
    bench = Bench(KilledGone())
    bench.append(intent(), report(OrderStatus.NEW))
    bench.venue.accept(CID)
    assert bench.step(kill, *records) is None
    bench.seen.healed_ns = HEALED
    bench.seen.now_ns = HEALED + 1_000 * SECOND
    return bench


@pytest.mark.parametrize("scope", ["all", BTC, ACCOUNT, OWNER, "binance", "paper"])
def test_kill_when_an_order_in_its_scope_is_not_cancelled_then_broken_at_once(scope: str) -> None:
    """I-37: the turn that writes KILL writes a cancel of each order, or that it never left."""
    bench = Bench(KilledGone())
    bench.append(intent(), report(OrderStatus.NEW), intent(client_order_id="c2"))
    violation = bench.step(kill(scope), NotSent(T0, ACCOUNT, ClientOrderId("c2"), "LOCAL_EXPIRED"))
    broken(violation, "I-37", f"a cancel of {CID} in the turn that kills {scope}", "none")


@pytest.mark.parametrize("late", [None, 0, 1])
def test_kill_when_its_cancels_do_not_end_the_order_in_time_then_broken(late: int | None) -> None:
    """I-37: at the venue, whatever the records say, and a RESUME takes nothing back."""
    bench = killed(CANCEL, kill=kill("all"))
    assert bench.step(resume("all")) is None
    due = HEALED + PATIENCE
    if late is not None:
        bench.venue.now_ns = due + late
        bench.venue.end(bench.venue.orders[1])
    violation = bench.rest()
    if late == 0:
        assert violation is None
    else:
        found = "open" if late is None else str(due + 1)
        broken(violation, "I-37", f"{CID} terminal at the venue by {due} ns", found)


def test_kill_when_the_order_waits_inside_the_venue_then_broken() -> None:
    """I-37: a create that may still be accepted is not gone."""
    bench = killed(CANCEL, kill=kill("all"))
    bench.venue.orders.clear()
    assert bench.rest() is None
    bench.venue.pending[CID] = None
    broken(bench.rest(), "I-37", f"{CID} cancelled", "it may still be accepted")


def test_kill_when_nothing_of_ours_is_in_its_scope_then_quiet() -> None:
    """I-37: another scope, kept protection, what has ended or is full, and what comes behind the kill."""
    assert killed(kill=kill("binance:ETH/USDT")).rest() is None
    bench = Bench(KilledGone())
    bench.append(
        intent(reduce_only=True),
        intent(client_order_id="c2"),
        report(OrderStatus.CANCELED, client_order_id="c2"),
        intent(client_order_id="c3"),
        fill(10, client_order_id="c3"),
    )
    for name in (CID, "c2", "c3"):
        bench.venue.accept(name)
    assert bench.step(Kill(T0, "all", "x", "me", keep_protection=True)) is None
    assert bench.step(resume("all"), intent(client_order_id="c4")) is None
    bench.venue.accept("c4")
    bench.seen.healed_ns = HEALED
    assert bench.rest() is None
    broken(bench.step(kill("all")), "I-37", f"a cancel of {CID}", "none")


def test_create_when_the_link_was_asked_without_scopes_then_those_of_its_intent_count() -> None:
    """I-09: a write that names none would pass every latch."""
    bench = Bench(NothingBehindKill())
    assert bench.step(intent()) is None
    bench.write(CID, closed=(OWNER,))
    bench.seen.writes[-1] = replace(bench.seen.writes[-1], scopes=())
    broken(bench.look(), "I-09", f"no create of {OWNER} while its latch is closed", f"{CID} written")
