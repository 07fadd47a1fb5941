"""A kernel as bytes, and back: actors, mail, timers, generators, supervision, configuration.

Kernel snapshots serve replay and tests; recovery of trading reads only the journal. Taking one is
itself part of a run: the trace goes on from its own digest, so that the original and what was
restored have equal hashes from there on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import DeadLetter
from tradefan.runtime.kernel import PER_STEP, PER_VISIT, Kernel, KernelState
from tradefan.runtime.life import Stopping
from tradefan.runtime.mailbox import Kept
from tradefan.runtime.supervisor import TreeState
from tradefan.runtime.system import Cell, System
from tradefan.units import Ref

SNAPSHOT_VERSION = 4


class MailSnapshot(Struct):
    """The four lanes in order, what is kept, how often told again, whether left, the mailbox's counters."""

    lanes: tuple[list[bytes], list[bytes], list[bytes], list[bytes]]
    kept: list[tuple[bytes, int, bool]]
    counters: list[int]


class CellSnapshot(Struct):
    """One actor: `state` None while it is down."""

    name: str
    state: bytes | None
    rng: int
    generation: int
    turns: int
    crashes: int
    poison: tuple[str | None, str]
    mail: MailSnapshot


class PortSnapshot(Struct):
    """One port's credit and generation."""

    credit: int
    sent: int
    generation: int
    running: bool


class KernelSnapshot(Struct):
    """Everything; `code` names the program, plug-ins included, that may restore it."""

    version: int
    code: str
    kernel: KernelState
    config: bytes
    tree: TreeState
    stopping: Stopping | None
    exited: int | None
    cells: list[CellSnapshot]
    ports: list[PortSnapshot]
    ready: list[Ref]
    timers: list[tuple[int, int, Ref, int, bytes]]
    dead_letters: list[DeadLetter]
    digest: bytes | None
    refs: dict[str, Ref]
    """Of all names that this run has had: `System.known` of the system that goes on from here."""


_COUNTERS = ("facts_peak", "commands_peak", "market_peak", "conflated", "refused", "dropped")
_encode = msgspec.msgpack.Encoder().encode


def take(kernel: Kernel, config: bytes, code: str) -> bytes:
    """Return the kernel as bytes between two steps; `config` is the encoded active configuration."""
    digest = None
    if kernel.trace is not None:
        digest = kernel.trace.checkpoint()
    live = sorted(timer for timer in kernel.timers if timer[1] in kernel.timers_live)
    return _encode(
        KernelSnapshot(
            version=SNAPSHOT_VERSION,
            code=code,
            kernel=kernel.state,
            config=config,
            tree=kernel.life.tree.state,
            stopping=kernel.life.stopping,
            exited=kernel.life.exited,
            cells=[_take_cell(cell) for cell in kernel.cells if cell is not None],
            ports=[PortSnapshot(p.credit, p.sent, p.generation, p.running) for p in kernel.ports.values()],
            ready=[cell.ref for cell in kernel.ready],
            timers=[(at, number, ref, gen, _encode(msg)) for at, number, ref, gen, msg in live],
            dead_letters=list(kernel.life.dead_letters),
            digest=digest,
            refs=dict(kernel.refs),
        )
    )


def restore(
    data: bytes, system: System, code: str, *, per_step: int = PER_STEP, per_visit: int = PER_VISIT
) -> Kernel:
    """Return a kernel that goes on exactly where `take` was called; its budgets are those of then.

    Raises:
        Refused: SNAPSHOT_VERSION or SNAPSHOT_CODE when another program wrote it, SNAPSHOT_SYSTEM when
            another system than this one did.
    """
    snapshot = msgspec.msgpack.decode(data, type=KernelSnapshot)
    if snapshot.version != SNAPSHOT_VERSION:
        raise Refused("SNAPSHOT_VERSION", f"expected {SNAPSHOT_VERSION}, got {snapshot.version}")
    if snapshot.code != code:
        raise Refused("SNAPSHOT_CODE", f"expected {code}, got {snapshot.code}")
    kernel = Kernel(
        system,
        system.decode_config(snapshot.config),
        snapshot.kernel.config_id,
        now_ns=snapshot.kernel.now_ns,
        trace=snapshot.digest is not None,
        per_step=per_step,
        per_visit=per_visit,
    )
    if kernel.refs != snapshot.refs:
        odd = sorted(kernel.refs.items() ^ snapshot.refs.items())
        raise Refused("SNAPSHOT_SYSTEM", f"expected the actors of the snapshot, these differ: {odd}")
    kernel.state = snapshot.kernel
    if snapshot.digest is not None and kernel.trace is not None:
        kernel.trace.restart(snapshot.digest)
    kernel.life.tree.state = snapshot.tree
    kernel.life.stopping, kernel.life.exited = snapshot.stopping, snapshot.exited
    kernel.life.dead_letters = deque(snapshot.dead_letters, maxlen=kernel.life.dead_letters.maxlen)
    for saved in snapshot.cells:
        _restore_cell(kernel, saved)
    for port, kept in zip(kernel.ports.values(), snapshot.ports, strict=True):
        port.credit, port.sent = kept.credit, kept.sent
        port.generation, port.running = kept.generation, kept.running
    for ref in snapshot.ready:
        cell = kernel.cells[ref]
        assert cell is not None
        kernel.wake(cell)
    for at, number, ref, generation, raw in snapshot.timers:
        kernel.arm(at, ref, generation, system.decode_message(raw), number)
    return kernel


def _take_cell(cell: Cell) -> CellSnapshot:
    mail = cell.mail
    return CellSnapshot(
        name=cell.spec.name,
        state=None if cell.actor is None else _encode(cell.actor.state),
        rng=cell.rng,
        generation=cell.generation,
        turns=cell.turns,
        crashes=cell.crashes,
        poison=cell.poison,
        mail=MailSnapshot(
            lanes=(
                _encoded(mail.control.values()),
                _encoded(mail.facts),
                _encoded(mail.commands),
                _encoded(mail.market.values()),
            ),
            kept=[(_encode(kept.msg), kept.again, kept.left) for kept in mail.kept.values()],
            counters=[getattr(mail, name) for name in _COUNTERS],
        ),
    )


def _encoded(lane: Iterable[Message]) -> list[bytes]:
    return [_encode(msg) for msg in lane]


def _restore_cell(kernel: Kernel, saved: CellSnapshot) -> None:
    cell = kernel.cells[kernel.refs[saved.name]]
    assert cell is not None
    decode = kernel.system.decode_message
    control, facts, commands, market = ([decode(raw) for raw in lane] for lane in saved.mail.lanes)
    cell.rng, cell.generation, cell.turns = saved.rng, saved.generation, saved.turns
    cell.crashes, cell.poison = saved.crashes, saved.poison
    mail = cell.mail
    mail.control.update(_keyed(control))
    mail.facts.extend(facts)
    mail.commands.extend(commands)
    mail.market.update(_keyed(market))
    for raw, again, left in saved.mail.kept:
        msg = decode(raw)
        mail.kept[msg.key()] = Kept(msg, again, left)
    for name, value in zip(_COUNTERS, saved.mail.counters, strict=True):
        setattr(mail, name, value)
    cell.facts_peak = mail.facts_peak
    if saved.state is not None:
        state = msgspec.msgpack.decode(saved.state, type=cell.spec.state_type)
        cell.place(cell.spec.factory(state))


def _keyed(messages: list[Message]) -> dict[str, Message]:
    return {msg.key(): msg for msg in messages}
