"""The threads that read and compute: so many at once, so many waiting, so long at most."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from leadlight.serve.refusals import Busy

Found = TypeVar("Found")


class Workers:
    """Runs functions in threads; what is beyond the bounds is refused, never piled up."""

    def __init__(self, threads: int = 2, waiting: int = 64, limit_s: float = 30.0) -> None:
        """Bounds.

        Args:
            threads: functions that run at once.
            waiting: functions that may wait for a thread; one more is refused at once.
            limit_s: a question waits and runs for so long, then it is answered with a refusal.
        """
        self.threads, self.waiting_at_most, self.limit_s = threads, waiting, limit_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="leadlight-serve")
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0

    async def run(self, work: Callable[[], Found]) -> Found:
        """The function's result.

        A thread cannot be stopped: after the time limit the answer is a refusal, but the function
        keeps its place among the running ones until it ends, so what runs stays bounded.

        Raises:
            Busy: too many wait already, or it took too long.
        """
        if self._waiting >= self.waiting_at_most:
            raise Busy("The server is busy.", advice="Ask again in a moment.")
        try:
            async with asyncio.timeout(self.limit_s):
                self._waiting += 1
                try:
                    await self._free.acquire()
                finally:
                    self._waiting -= 1
                future = asyncio.get_running_loop().run_in_executor(self._pool, work)
                future.add_done_callback(self._ended)
                return await asyncio.shield(future)
        except TimeoutError:
            raise Busy(
                f"This took longer than {self.limit_s:g} s.",
                advice="Ask for less, or again later.",
            ) from None

    def close(self) -> None:
        """Let go of the threads; what still runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: "asyncio.Future[Any]") -> None:
        self._free.release()
        if not future.cancelled():
            future.exception()  # seen, also where nobody waits for it any more
