"""I-01, I-04, I-17, I-18: what leaves for the venue."""

from __future__ import annotations

from tests.unit.core.order_builders import CID, intent
from tests.unit.sim.checker_bench import ACCOUNT, BTC, T0, Bench, D, broken, epoch, name_of
from tradefan.messages.records import ExternalOrder, Kill
from tradefan.sim.checkers.sends import DurableIntent, OneCreate, OwnTarget, RisingEpoch, epoch_of
from tradefan.units import SECOND, Asset, ClientOrderId, Side

LATER = T0 + 100 * SECOND


def test_create_when_it_leaves_and_arrives_once_then_quiet() -> None:
    """I-01: one create, its cancel twice, and one that the latch refused are no repetition."""
    bench = Bench(OneCreate())
    bench.write("c1")
    bench.write("c2", refused="LATCHED")
    bench.write("c2")
    bench.write("c1", "cancel")
    bench.write("c1", "cancel")
    bench.venue.arrive("c1")
    bench.venue.arrive("c1", "cancel")
    assert bench.look() is None


def test_create_when_it_leaves_again_in_another_life_then_broken() -> None:
    """I-01: a create is never written again, not even by a successor."""
    bench = Bench(OneCreate())
    bench.write("c1")
    assert bench.look() is None
    bench.seen.life = 2
    bench.write("c1")
    broken(bench.look(), "I-01", "at most one create of c1", f"two left, at {T0} and at {T0 + SECOND}")


def test_create_when_it_arrives_twice_then_broken() -> None:
    """I-01: what something between link and venue sends again counts by the venue's log."""
    bench = Bench(OneCreate())
    bench.venue.arrive("c1")
    bench.venue.arrive("c1")
    broken(bench.look(), "I-01", "at most one create of c1", "two arrived")


def test_write_when_its_intent_was_durable_then_quiet() -> None:
    """I-04: INTENT at lsn 1, durable 1 when the create left in time."""
    bench = Bench(DurableIntent())
    bench.append(intent(not_after_ns=LATER))
    bench.write(CID)
    assert bench.look() is None


def test_write_when_its_intent_was_not_durable_then_broken() -> None:
    """I-04: the journal had acknowledged less than the INTENT's lsn."""
    bench = Bench(DurableIntent())
    bench.append(epoch(1), intent(not_after_ns=LATER))
    bench.write(CID, durable=1)
    broken(bench.look(), "I-04", f"a durable INTENT of {CID}", "lsn 2 with 1 durable")


def test_write_when_nobody_knows_an_intent_then_broken() -> None:
    """I-04: a replacement needs its INTENT like any create."""
    bench = Bench(DurableIntent())
    bench.write("c9", "replace")
    broken(bench.look(), "I-04", "a durable INTENT of c9", "lsn None")


def test_write_when_it_leaves_behind_its_deadline_then_broken() -> None:
    """I-04: in the kernel's time, which may be ahead of the world's."""
    bench = Bench(DurableIntent())
    bench.append(intent(not_after_ns=T0 + 5))
    bench.seen.skew_ns = 6
    bench.write(CID)
    broken(bench.look(), "I-04", f"written by {T0 + 5} ns", f"{T0 + 6} ns")


def test_cancel_when_of_an_order_of_ours_then_quiet_even_behind_a_crash() -> None:
    """I-17: own is what any INTENT ever named; a replacement names two own orders."""
    bench = Bench(OwnTarget())
    assert bench.step(intent(), intent(client_order_id="c2", replaces=CID)) is None
    bench.write(CID, "cancel")
    bench.write("c2", "replace")
    assert bench.look() is None
    bench.crash(0)
    bench.write(CID, "cancel")
    assert bench.look() is None


def test_cancel_when_of_somebody_elses_order_then_broken_without_the_flag() -> None:
    """I-17: an external order is touched only behind a KILL that includes external ones."""
    for flagged in (True, False):
        bench = Bench(OwnTarget())
        bench.step(external(), Kill(T0, "all", "x", "me", including_external=flagged))
        bench.write("web_1", "cancel")
        violation = bench.look()
        if flagged:
            assert violation is None
        else:
            broken(violation, "I-17", "an order of ours as the target of a cancel", "web_1")


def test_replacement_when_it_ends_somebody_elses_order_then_broken() -> None:
    """I-17: what a replacement takes the place of has to be ours."""
    bench = Bench(OwnTarget())
    bench.step(external(), intent(client_order_id="c2", replaces="web_1"))
    bench.write("c2", "replace")
    broken(bench.look(), "I-17", "the target of a replace", "web_1 (written for c2)")


def external(side: Side = "buy") -> ExternalOrder:
    return ExternalOrder(
        T0,
        ACCOUNT,
        BTC,
        ClientOrderId("web_1"),
        "7",
        side,
        D(1),
        D(0),
        D(100),
        D(100),
        Asset("USDT"),
        D(100),
        orphan=False,
    )


def test_epoch_when_read_from_an_id_then_the_one_it_was_made_with() -> None:
    """Four base32 characters behind the instance."""
    assert epoch_of(name_of(1_000_000, 5)) == 1_000_000


def test_creates_when_epochs_rise_then_quiet() -> None:
    """I-18: two starts, each with a durable EPOCH before its creates."""
    bench = Bench(RisingEpoch())
    bench.append(epoch(1), epoch(2))
    for name in (name_of(1, 1), name_of(1, 2), name_of(2, 1)):
        bench.write(name)
    assert bench.look() is None


def test_creates_when_a_predecessor_still_writes_then_broken() -> None:
    """I-18: an older epoch behind a newer one is a second daemon, or a dead one that lives."""
    bench = Bench(RisingEpoch())
    bench.append(epoch(1), epoch(2))
    bench.write(name_of(2, 1))
    bench.write(name_of(1, 9))
    broken(bench.look(), "I-18", "an epoch of at least 2", f"{name_of(1, 9)} with epoch 1")


def test_creates_when_of_another_instance_then_broken() -> None:
    """I-18: one daemon writes, with one instance's ids."""
    bench = Bench(RisingEpoch())
    bench.append(epoch(1))
    bench.write(name_of(1, 1))
    bench.write(name_of(1, 2, "xyz"))
    broken(bench.look(), "I-18", "an id of sim", name_of(1, 2, "xyz"))


def test_create_when_its_epoch_was_not_durable_then_broken() -> None:
    """I-18: a crash could have the next start use the same epoch again."""
    bench = Bench(RisingEpoch())
    bench.append(epoch(1))
    bench.write(name_of(1, 1), durable=0)
    broken(bench.look(), "I-18", "a durable EPOCH 1", "lsn 1 with 0 durable")
