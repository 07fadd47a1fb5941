"""What wiring hands to a kernel: actors, ports, their tree; and the places that they take in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tradefan.errors import Defect
from tradefan.messages.base import Message
from tradefan.messages.control import SwapConfig
from tradefan.runtime.actor import Actor, Context
from tradefan.runtime.mailbox import Limits, Mailbox
from tradefan.runtime.supervisor import Supervisor
from tradefan.units import Ref

RIM = Ref(0)
"""Where ingress to the kernel itself is sent, and where effects for the driver itself go."""

Ingress = tuple[Ref, Message]


@dataclass(frozen=True)
class ActorSpec:
    """How to build an actor and how much mail it may have; `state_type` decodes its snapshot.

    `watchers` hear `ActorState(name, "DOWN")` when it dies and `"LOST"` when it stays down; that it is
    well again it says itself. A `breakable` actor runs code that may never end: its turns may be broken.
    A `warned` one hears `StopBegun` as soon as a stop begins, however many are asked to end before it.
    Wired anew with another `kind`, an actor begins again as a new instance; else it is built of the state
    that it has.
    """

    name: str
    factory: Callable[[Any], Actor]
    state_type: Any
    limits: Limits
    watchers: tuple[str, ...] = ()
    breakable: bool = False
    warned: bool = False
    kind: Any = None


@dataclass(frozen=True)
class PortSpec:
    """A port: effects sent to it leave the step. `owner` gets its ingress and its link's `LinkDown`.

    A port with `credit` takes only as many effects as its link has announced room for.
    """

    name: str
    owner: str | None
    credit: bool = False


@dataclass(frozen=True)
class System:
    """A wired system: the same under every driver."""

    actors: tuple[ActorSpec, ...]
    ports: tuple[PortSpec, ...]
    tree: Supervisor
    decode_message: Callable[[bytes], Message]
    decode_config: Callable[[bytes], Any]
    validators: tuple[Callable[[Any, Any], tuple[str, ...]], ...] = ()
    configurator: str | None = None
    last_resort: Callable[[Message], tuple[Ingress, ...]] = lambda _kept: ()
    """What goes to the rim and to ports (without credit) for a `kept` message that nobody can be told."""
    known: Mapping[str, Ref] = field(default_factory=dict)
    """Refs that names have had in this run: they keep them, also those of actors that are gone."""
    rewire: Callable[[Any, SwapConfig, Mapping[str, Ref]], System | None] | None = None
    """The system of another configuration, of the swap that brings it, for known refs; raises `Refused`.
    None where that is this one; without it always."""
    made_of: Any = None
    """What it was wired of beside the configuration, for who wires the same again."""

    def refs(self) -> dict[str, Ref]:
        """Number actors and ports: wiring can know refs beforehand."""
        names = [*(spec.name for spec in self.actors), *(spec.name for spec in self.ports)]
        return number_refs(names, self.known)


def number_refs(names: Iterable[str], known: Mapping[str, Ref] | None = None) -> dict[str, Ref]:
    """Give every name its ref, in order, from 1 (0 is the rim); a known one keeps its own.

    Names that are known and not among these keep theirs, too: nobody else may get what is meant for them.

    Raises:
        Defect: when a name occurs twice.
    """
    listed, refs = list(names), {} if known is None else dict(known)
    if len(set(listed)) != len(listed):
        raise Defect(f"expected unique names of actors and ports, got {listed}")
    for name in listed:
        refs.setdefault(name, Ref(len(refs) + 1))
    return refs


def gone(name: str, limits: Limits) -> ActorSpec:
    """Return the place of an actor that is not wired any more."""
    return ActorSpec(name, _nobody, None, limits)


def _nobody(_state: object) -> Actor:
    raise Defect("an actor that is not wired any more cannot be built")


class Cell:
    """One actor's place: its mailbox survives the actor."""

    __slots__ = (
        "actor",
        "crashes",
        "facts",
        "facts_peak",
        "generation",
        "guard",
        "handle",
        "lanes",
        "mail",
        "poison",
        "queued",
        "ref",
        "rng",
        "spec",
        "tag",
        "turns",
    )

    def __init__(self, spec: ActorSpec, ref: Ref, rng: int) -> None:
        """Start without an actor; the first step builds it."""
        self.spec = spec
        self.ref = ref
        self.tag = ref.to_bytes(4, "little")
        self.rng = rng
        self.mail = mail = Mailbox(spec.limits)
        # Kept beside the mailbox and the actor because the kernel's loop reads them at every visit.
        self.facts = mail.facts
        self.facts_peak = 0
        self.lanes = (mail.control, mail.facts, mail.commands, mail.market)
        self.handle: Callable[[Any, Context], None] | None = None
        # What a driver puts around the turns of a breakable actor; nothing is asked of all others.
        self.guard: Callable[[Callable[[Any, Context], None]], Callable[[Any, Context], None]] | None = None
        self.actor: Actor | None = None
        self.queued = False
        self.generation = 0
        self.turns = 0
        self.crashes = 0
        self.poison: tuple[str | None, str] = (None, "")

    def note_facts(self) -> None:
        """Remember a new depth of the facts lane.

        The peak is noted first, and the kernel calls this only beyond the peak: the facts are lossless
        and stay, so the successor works them off and falls again only if their number grows further.
        What grows without end exhausts the supervisor, and an actor that stays down loses its mail.

        Raises:
            Defect: the lane is over the capacity that wiring computed; a crash of this actor alone.
        """
        self.facts_peak = self.mail.facts_peak = len(self.facts)
        most = self.mail.limits.facts_max
        if self.facts_peak > most:
            raise Defect(f"{self.spec.name}: {self.facts_peak} facts, wiring computed at most {most}")

    def place(self, actor: Actor | None) -> None:
        """Let an actor take this place, or nobody."""
        self.actor = actor
        self.handle = None if actor is None else actor.handle
        if actor is not None and self.guard is not None:
            self.handle = self.guard(actor.handle)


class Port:
    """One port's place: how many effects its link has room for, and the link's generation."""

    __slots__ = ("credit", "generation", "running", "sent", "spec")

    def __init__(self, spec: PortSpec) -> None:
        """Start without credit: only ingress raises it."""
        self.spec = spec
        self.credit = 0
        self.sent = 0
        self.generation = 0
        self.running = False
