"""The tables of figures; a part that has not run says so in the place of each of its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mutants.run import Result
from tests.proof.figures import Chunk, Kills, Mutants, Proof, Recovery, Seeds, Strikes, merged
from tests.proof.mutants import of_seeds
from tests.proof.stamp import Machine, Stamp
from tests.proof.text import count, rows, share, spread
from tradefan.sim.faults import KINDS
from tradefan.units import HOUR

NOT_YET = "not run yet"


def summary(proof: Proof) -> Iterator[str]:
    """Give the table that stands first: a line for each figure, with where it comes from."""
    body = [
        *_seed_rows(proof.seeds),
        *_mutant_rows(proof.mutants),
        *_kill_rows(proof.kills),
        *_recovery_rows(proof.recovery),
    ]
    yield from rows(("Figure", "Value", "Commit", "Date", "Machine"), body)
    yield from _machines(proof)


# --- seeds ----------------------------------------------------------------------------------------------


def _seed_rows(seeds: Seeds | None) -> Iterator[tuple[str, ...]]:
    names = ("Seeds", "Violations", "Simulated hours", "Orders", "Fills", "Crashes", "Starts", "Faults")
    if seeds is None or not seeds.chunks:
        yield from ((name, *_not_run()) for name in names)
        return
    chunks = seeds.chunks
    hours = sum(one.simulated_ns for one in chunks) / HOUR
    liars = count(sum(one.liars for one in chunks))
    values = (
        f"{count(sum(one.seeds for one in chunks))}, {liars} with a venue that breaks its bounds",
        f"**{count(sum(len(one.violations) for one in chunks))}**",
        f"{hours:,.1f}",
        count(sum(one.orders for one in chunks)),
        count(sum(one.fills for one in chunks)),
        count(sum(one.crashes for one in chunks)),
        count(sum(one.starts for one in chunks)),
        _faults(chunks),
    )
    where = _where([one.stamp for one in chunks])
    yield from ((name, value, *where) for name, value in zip(names, values, strict=True))


def _faults(chunks: tuple[Chunk, ...]) -> str:
    struck = [kind for kind in KINDS if any(kind in one.faults for one in chunks)]
    total = sum(strikes.count for one in chunks for strikes in one.faults.values())
    return f"{count(total)}, {len(struck)} of {len(KINDS)} kinds"


def ranges(seeds: Seeds | None) -> Iterator[str]:
    """Give a line for each range of seeds that ran at one commit, and each violation."""
    if seeds is None or not seeds.chunks:
        yield f"{NOT_YET.capitalize()}.\n"
        return
    head = ("Seeds", "Hours each", "Violations", "Orders", "Faults", "Slowest", "Commit", "Date", "Machine")
    yield from rows(head, (_range(run) for run in merged(seeds.chunks)))
    broken = [(one, bad) for one in seeds.chunks for bad in one.violations]
    if broken:
        body = (
            (str(bad.seed), bad.invariant, bad.expected, bad.found, _commit(one.stamp)) for one, bad in broken
        )
        yield from rows(("Seed", "Invariant", "Expected", "Found", "Commit"), body)


def _range(run: list[Chunk]) -> tuple[str, ...]:
    slowest = max(run, key=lambda one: one.slowest_s)
    faults = sum(strikes.count for one in run for strikes in one.faults.values())
    return (
        f"{run[0].first}-{run[-1].last}",
        f"{run[0].hours:g}",
        count(sum(len(one.violations) for one in run)),
        count(sum(one.orders for one in run)),
        count(faults),
        f"seed {slowest.slowest}: {slowest.slowest_s:.1f} s",
        *_where([one.stamp for one in run]),
    )


def kinds(seeds: Seeds | None) -> Iterator[str]:
    """Give the faults by kind, in the order of the simulator's list."""
    if seeds is None or not seeds.chunks:
        yield f"{NOT_YET.capitalize()}.\n"
        return
    found: dict[str, list[Strikes]] = {}
    for chunk in seeds.chunks:
        for kind, strikes in chunk.faults.items():
            found.setdefault(kind, []).append(strikes)
    others = sorted(kind for kind in found if kind not in KINDS)
    body = (_kind(kind, found.get(kind, [])) for kind in (*KINDS, *others))
    yield from rows(("Kind", "Struck", "With an order at work or in doubt", "In doubt"), body)


def _kind(kind: str, all_of: list[Strikes]) -> tuple[str, ...]:
    if not all_of:
        return f"`{kind}`", "**never**", "", ""
    doubts = (
        sum(one.create for one in all_of),
        sum(one.cancel for one in all_of),
        sum(one.replace for one in all_of),
    )
    live = count(sum(one.live for one in all_of))
    return (
        f"`{kind}`",
        count(sum(one.count for one in all_of)),
        live,
        " / ".join(count(one) for one in doubts),
    )


# --- mutants --------------------------------------------------------------------------------------------


def _mutant_rows(mutants: Mutants | None) -> Iterator[tuple[str, ...]]:
    if mutants is None:
        yield "Mutants killed", *_not_run()
        yield "of these judged by the simulator", *_not_run()
        return
    where = _where([mutants.stamp])
    yield "Mutants killed", _killed_of(mutants.results), *where
    yield "of these judged by the simulator", _killed_of(of_seeds(mutants.results)), *where


def _killed_of(results: tuple[Result, ...]) -> str:
    killed = sum(one.verdict == "killed" for one in results)
    return f"{killed} of {len(results)} ({share(killed, len(results))})" if results else "none"


def mutants(found: Mutants | None) -> Iterator[str]:
    """Give those that lived, by name, then those that were killed."""
    yield (
        "A mutant is a defect that is built in on purpose: the seeds have to find it, or the walker of the\n"
        "property tests (`WALKS`) where it is arithmetic that no world shows. Those that were not found are\n"
        "named, with the invariants that should have seen them.\n"
    )
    if found is None:
        yield f"{NOT_YET.capitalize()}.\n"
        return
    lived = [one for one in found.results if one.verdict != "killed"]
    if lived:
        body = ((f"`{one.name}`", one.mistake, ", ".join(one.invariants)) for one in lived)
        yield from rows(("Not killed", "What it does", "Should have been seen by"), body)
    else:
        yield "None survived.\n"
    killed = (_killed(one) for one in found.results if one.verdict == "killed")
    yield from rows(("Killed", "What it does", "By", "At seed", "Core-seconds"), killed)


def _killed(one: Result) -> tuple[str, ...]:
    return f"`{one.name}`", one.mistake, one.killed_by, str(one.seed), f"{one.core_s:.0f}"


# --- kills and starts -----------------------------------------------------------------------------------


def _kill_rows(kills: Kills | None) -> Iterator[tuple[str, ...]]:
    names = (
        "Kills by the API, acknowledged after (ms)",
        "of these acknowledged as persisted",
        "Kills by the signal, on the disk after (ms)",
        "Own orders gone from the venue, 50 ms away, after (ms)",
        "Orders decided or accepted behind a kill",
    )
    if kills is None:
        yield from ((name, *_not_run()) for name in names)
        return
    by_api = len(kills.api_ms)
    both = by_api + len(kills.signal_ms)
    values = (
        _spread(kills.api_ms, 1),
        f"{count(kills.persisted)} of {count(by_api)}",
        _spread(kills.signal_ms, 1),
        f"{_spread(kills.gone_ms, 0)} ({count(kills.rested)} orders rested)",
        f"**{count(kills.behind)}**, of {count(kills.orders)} orders around {count(both)} kills",
    )
    where = _where([kills.stamp])
    yield from ((name, value, *where) for name, value in zip(names, values, strict=True))


def _spread(values: tuple[float, ...], digits: int) -> str:
    return f"{count(len(values))}: {spread(values, digits)}" if values else "none"


def _recovery_rows(recovery: Recovery | None) -> Iterator[tuple[str, ...]]:
    names = (
        "Behind kill -9: first cancel taken after (s)",
        "Behind kill -9: account reconciled after (s)",
        "Behind kill -9, a million rows: first cancel after (s)",
        "Behind kill -9, a million rows: reconciled after (s)",
    )
    if recovery is None:
        yield from ((name, *_not_run()) for name in names)
        return
    where = _where([recovery.stamp])
    for number, found in enumerate((recovery.plain, recovery.large)):
        yield names[2 * number], _spread(tuple(one.cancel_s for one in found), 2), *where
        yield names[2 * number + 1], _spread(tuple(one.ready_s for one in found), 2), *where


def starts(recovery: Recovery | None) -> Iterator[str]:
    """Give the times of starts."""
    if recovery is None:
        yield f"{NOT_YET.capitalize()}.\n"
        return
    yield (
        "Real processes on the paper venue, asked every 50 ms. Times count from the first line of the log,\n"
        "which is written when the journal has been opened; the process begins so much earlier. A feed\n"
        "counts as LIVE when it has been well for up to 10 s: that is a rule, not what anything takes.\n"
    )
    traded = f"{count(recovery.plain_orders)} orders, {count(recovery.plain_fills)} fills"
    plain = f"killed in trading, {traded}; venue 100 ms away and back"
    behind = f"{count(recovery.rows)} rows, {count(recovery.resting)} open orders"
    large = f"behind {behind}; venue 20 ms away and back, no market"
    names = ("Start of the process", "First cancel taken", "Account reconciled", "Feeds live, all ready")
    body = []
    for name, found in ((plain, recovery.plain), (large, recovery.large)):
        live = tuple(one.live_s for one in found if one.live_s is not None)
        spans = (
            tuple(one.exec_s for one in found),
            tuple(one.cancel_s for one in found),
            tuple(one.ready_s for one in found),
            live,
        )
        most = max((one.peak_mb for one in found), default=0)
        body.append((name, *(_spread(one, 2) for one in spans), f"{most} MB"))
    yield from rows(("In seconds", *names, "Most memory"), body)


# --- where it comes from --------------------------------------------------------------------------------


def _not_run() -> tuple[str, ...]:
    return NOT_YET, "", "", ""


def _where(stamps: list[Stamp]) -> tuple[str, str, str]:
    """Name commits, days and machines; more than one of a kind are all named."""
    days = sorted({one.date for one in stamps})
    commits = list(dict.fromkeys(_commit(one) for one in stamps))
    machines = list(dict.fromkeys(_short(one.machine) for one in stamps))
    day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return ", ".join(commits), day, ", ".join(machines)


def _commit(of: Stamp) -> str:
    name, _, dirty = of.commit.partition("-")
    return f"`{name[:12]}{'-' + dirty if dirty else ''}`"


def _short(machine: Machine) -> str:
    return f"{machine.cores} cores, {machine.cpu}"


def _machines(proof: Proof) -> Iterator[str]:
    """Give each machine whole, and the command of each part."""
    stamps = [one.stamp for one in (proof.seeds.chunks if proof.seeds else ())]
    stamps += [one.stamp for one in (proof.mutants, proof.kills, proof.recovery) if one is not None]
    found = dict.fromkeys(one.machine for one in stamps)
    for one in found:
        yield f"{_short(one)}: Python {one.python}, SQLite {one.sqlite}.\n"
