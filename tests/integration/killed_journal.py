"""Appends to a journal as fast as it is written and prints every durable lsn: made to be killed."""

from __future__ import annotations

import asyncio
import sys

from tests.unit.stores.made import transfers
from tradefan.messages.base import Message
from tradefan.messages.control import Append, Durable, Snap
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_link import JournalLink


def say(message: Message) -> None:
    """Print what is durable now."""
    if isinstance(message, Durable):
        print(message.lsn, flush=True)  # noqa: T201


async def main(path: str) -> None:
    """Go on where the journal ends, in Appends of one to five records and a snapshot each hundred."""
    file = JournalFile(path)
    first = file.last_lsn + 1
    file.close()
    link = JournalLink(path, say)
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        while True:
            if link.backlog < 100:
                size = first % 5 + 1
                link.apply(Append(first, 1, transfers(size, first)))
                first += size
                if first % 100 < size:
                    link.apply(Snap(first - 1, b"state %d" % (first - 1)))
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
