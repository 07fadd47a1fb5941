"""What a service manager is told over its socket: ready, still alive, and about to stop (sd_notify(3)).

The watchdog is fed by the loop itself: a loop that hangs feeds nothing, and the manager starts us again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

FED_PER_TIMEOUT = 3
"""So often within the watchdog's time: one that is lost does not cost the process."""


class ServiceManager:
    """The manager that has started us, if any; nothing here blocks or raises."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Find its socket, and whether it watches this process."""
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket begins with a zero byte, which no environment can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.period_s = _period_s(environ)
        self._said = False

    def tell(self, **words: str | int) -> None:
        """Send assignments such as `READY=1`; a manager that does not listen is none."""
        if not self._address:
            return
        text = "\n".join(f"{key}={str(value).replace(chr(10), ' ')}" for key, value in words.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(text.encode(), self._address)

    def feed(self, call_later: Callable[..., object], status: Callable[[], str]) -> None:
        """Say that we live now and again and again, with one line for people."""
        if not self._address or self.period_s is None:
            return
        self.tell(WATCHDOG=1, STATUS=status())
        call_later(self.period_s, self.feed, call_later, status)

    def stopping(self) -> None:
        """Say that we stop, when that begins: it may take as long as orders take to end."""
        if not self._said:
            self._said = True
            self.tell(STOPPING=1)

    def close(self) -> None:
        """Say that we stop, if that was not said, and no more."""
        self.stopping()
        self._address = ""


def _period_s(environ: Mapping[str, str]) -> float | None:
    """Return how often the watchdog is to be fed; None where nobody watches this process."""
    timeout, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not timeout.isdecimal() or not int(timeout) or (pid and pid != str(os.getpid())):
        return None
    return int(timeout) / 1e6 / FED_PER_TIMEOUT
