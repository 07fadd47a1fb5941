"""Lanes under random mail (I-27): bounded, in order, and every loss counted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.runtime.players import build, kernel_of, say, wish
from tradefan.messages.base import Message
from tradefan.messages.control import ConfigChanged
from tradefan.messages.market import Quote
from tradefan.messages.union import encode
from tradefan.runtime import snapshot
from tradefan.runtime.mailbox import Limits, Mailbox
from tradefan.units import InstrumentId, Ref

LIMITS = Limits(facts_high=5, facts_max=40, commands_max=3, market_max=3)


def quote(instrument: str, number: int) -> Quote:
    """Build a numbered quote."""
    return Quote(InstrumentId(instrument), 1.0, 1.0, 2.0, 1.0, number, 0)


class MailboxMachine(RuleBasedStateMachine):
    """Puts and takes against four plain lists."""

    @initialize()
    def begin(self) -> None:
        """Start empty."""
        self.mail = Mailbox(LIMITS)
        self.facts: list[Message] = []
        self.commands: list[Message] = []
        self.slots: dict[str, Message] = {}
        self.refused = self.conflated = self.dropped = self.number = 0

    @rule()
    def fact(self) -> None:
        """Facts keep their order and are never lost."""
        self.number += 1
        if not self.mail.blocked:
            assert self.mail.put(say("f", self.number))
            self.facts.append(say("f", self.number))

    @rule()
    def command(self) -> None:
        """Commands are refused beyond their capacity."""
        self.number += 1
        accepted = self.mail.put(wish(str(self.number)))
        assert accepted == (len(self.commands) < LIMITS.commands_max)
        if accepted:
            self.commands.append(wish(str(self.number)))
        else:
            self.refused += 1

    @rule(instrument=st.sampled_from("uvwxyz"))
    def market(self, instrument: str) -> None:
        """Quotes conflate by instrument and keep the place."""
        self.number += 1
        fresh = quote(instrument, self.number)
        self.mail.put(fresh)
        if instrument in self.slots:
            self.conflated += 1
        elif len(self.slots) >= LIMITS.market_max:
            self.dropped += 1
            return
        self.slots[instrument] = fresh

    @rule()
    def take(self) -> None:
        """Take the oldest of each lane."""
        if self.facts:
            assert self.mail.facts.popleft() == self.facts.pop(0)
        if self.slots:
            key = next(iter(self.slots))
            assert self.mail.market.pop(next(iter(self.mail.market))) == self.slots.pop(key)

    @rule()
    def restart(self) -> None:
        """A successor gets the commands; quotes fall and are counted; facts stay."""
        assert self.mail.take_commands() == tuple(self.commands)
        self.commands.clear()
        self.mail.begin_with(ConfigChanged("x"))
        assert self.mail.control.pop("ConfigChanged") == ConfigChanged("x")
        self.dropped += len(self.slots)
        self.slots.clear()

    @invariant()
    def lanes_and_counters_agree_with_the_model(self) -> None:
        """What waits is what was put and not taken; what is missing is counted."""
        if not hasattr(self, "mail"):
            return
        assert list(self.mail.facts) == self.facts
        assert list(self.mail.commands) == self.commands
        assert list(self.mail.market.values()) == list(self.slots.values())
        found = self.mail.statistics()
        assert (found.refused, found.conflated, found.dropped) == (self.refused, self.conflated, self.dropped)


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.one_of(
            st.integers(0, 3).map(lambda n: say("fact", n)),
            st.integers(0, 3).map(lambda n: wish(f"w{n}")),
            st.builds(quote, st.sampled_from("xyz"), st.integers(0, 9)),
        ),
        max_size=40,
    ),
    st.integers(0, 40),
)
def test_snapshot_when_taken_anywhere_then_restored_kernel_goes_on_alike(
    mail: list[Message], cut: int
) -> None:
    """Snapshot, restore, continue gives the same trace as going on, whatever waits in the lanes."""
    system = build({"a": {}})
    kernel = kernel_of(system)
    now = 2_000_000_000
    kernel.step(now, [(Ref(1), msg) for msg in mail[:cut]])
    restored = snapshot.restore(snapshot.take(kernel, b"config", "code"), system, "code")
    rest = [(Ref(1), msg) for msg in mail[cut:]]
    effects = [one.step(now + 1, rest).effects for one in (kernel, restored)]
    assert [encode(effect) for _, effect in effects[0]] == [encode(effect) for _, effect in effects[1]]
    assert kernel.trace is not None
    assert restored.trace is not None
    assert kernel.trace.hexdigest() == restored.trace.hexdigest()
    assert kernel.statistics() == restored.statistics()
