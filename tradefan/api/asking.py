"""Questions to the order manager from outside the kernel: each has a number, and waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from tradefan.api.guard import Problem
from tradefan.messages.base import Message
from tradefan.messages.control import KillAnswer, Rejected
from tradefan.messages.orders import Answer, Asked, PlanAnswer, Refusal, SubmitOrder
from tradefan.messages.union import reread
from tradefan.units import OwnerId

ANSWER_TIMEOUT_S = 5.0
"""How long any request waits for the order manager, which may have died with it in hand."""
_CONFLICTS = ("KEY_REUSED", "REF_REUSED")
_LATER = ("NOT_READY", "QUEUE_FULL", "RESTARTING")

Reply: TypeAlias = Answer | PlanAnswer | KillAnswer | Refusal


class Asker:
    """One for all that ask; it lives as long as the driver, so that a number is never given twice."""

    def __init__(self, deliver: Callable[[Message], None], now_ns: Callable[[], int]) -> None:
        """`deliver` hands a message to the order manager."""
        self._deliver = deliver
        self._now_ns = now_ns
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._requests = 0

    def next_req(self) -> int:
        """Return the number of a new question."""
        self._requests += 1
        return self._requests

    # --- what comes back ----------------------------------------------------------------------------

    def apply(self, effect: Message) -> None:
        """Give an answer to the question that waits for it."""
        if isinstance(effect, Reply) and effect.req is not None:
            waiting = self._waiting.pop(effect.req, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(effect)

    def rejected(self, rejected: Rejected) -> None:
        """Answer a question that found the order manager's lane full, or it down."""
        req = getattr(rejected.message, "req", None)
        if req is not None:
            text = f"the order management system is {rejected.reason}; try again"
            code = "QUEUE_FULL" if rejected.reason == "full" else "NOT_READY"
            self.apply(
                Refusal(None, None, OwnerId("api"), "", code, text, None, None, None, self._now_ns(), req)
            )

    def close(self) -> None:
        """End every question that waits."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    # --- questions ----------------------------------------------------------------------------------

    async def ask(self, req: int, wish: Message) -> Answer:
        """Return the order manager's consent.

        Raises:
            Problem: it refused, or nobody knows what became of the wish.
        """
        answer = await self._consent(req, wish)
        assert isinstance(answer, Answer)
        return answer

    async def plan(self, req: int, question: Message) -> PlanAnswer:
        """Return how a wish would be worked.

        Raises:
            Problem: the wish would be refused.
        """
        answer = await self._consent(req, question)
        assert isinstance(answer, PlanAnswer)
        return answer

    async def _consent(self, req: int, wish: Message) -> Reply:
        answer = await self.answer(req, wish, ANSWER_TIMEOUT_S)
        if answer is None:
            text = "no answer in time, its outcome is unknown: look (tradefan status) before you try again"
            raise Problem(504, "IN_DOUBT", text, req=req, **_once(wish))
        if isinstance(answer, Refusal):
            raise _refused(answer)
        return answer

    async def answer(self, req: int, wish: Message, timeout_s: float) -> Reply | None:
        """Hand a message over and wait for what is said to it; None after a silence of `timeout_s`.

        Raises:
            Problem: no record can hold it, or be read again (a number as a ref, a setting beyond 64 bits).
        """
        try:
            wish = reread(wish)
        except ValueError as error:
            text = f"expected values that a record can hold: {error}"
            raise Problem(400, "BAD_REQUEST", text) from error
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[req] = answered
        self._deliver(wish)
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(req, None)


def _once(wish: Message) -> dict[str, str]:
    """Name the ref of an order whose outcome is unknown: sent again with it, it is taken once."""
    inner = wish.wish if isinstance(wish, Asked) else wish
    return {"ref": inner.ref} if isinstance(inner, SubmitOrder) else {}


def _refused(answer: Refusal) -> Problem:
    more = {"limit": answer.limit, "used": answer.used, "would_pass": answer.would_pass}
    status = 503 if answer.code in _LATER else 409 if answer.code in _CONFLICTS else 422
    return Problem(status, answer.code, answer.text, **more)
