"""Many clients at once: every question is answered, or told to come back; memory stays bounded."""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from leadlight.serve.server import Bounds, served

CLIENTS = 32
SECONDS = 3.0
LONGEST_S = 10.0  # of 99 in 100 answers, on two cores that others use too
MOST_MB = 250.0  # that the process may grow by, clients included
MIX = (
    "/records?size=25", "/api/records?class=AF&low=0.3&order=high", "/api/records?search=plain01",
    "/records/plain001", "/api/record?id=plain020", "/api/region?place=3:38550000-38800000",
    "/loci/3:38550000-38800000?set=factors&trait=factor_02", "/variants/3:38737659",
    "/api/factors?factor_01=1.25", "/api/study", "/static/base.js", "/report/index.html",
)  # fmt: skip


@dataclass
class Seen:
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    without_advice: int = 0


def _rss_mb() -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def _ask_for_a_while(running, clients: int, seconds: float) -> Seen:
    seen = Seen()
    end = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {running.token}"}
    timeout = aiohttp.ClientTimeout(total=60)

    async def client(number: int) -> None:
        place = number
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while time.monotonic() < end:
                began = time.monotonic()
                address = f"http://127.0.0.1:{running.port}{MIX[place % len(MIX)]}"
                async with session.get(address) as reply:
                    await reply.read()
                    seen.statuses[reply.status] += 1
                    if reply.status == 503:
                        seen.without_advice += "Retry-After" not in reply.headers
                        await asyncio.sleep(0.05)
                    else:
                        seen.seconds.append(time.monotonic() - began)
                place += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    return seen


def test_all_are_answered_within_the_bound_and_memory_stays(served_study):
    with served(served_study, bounds=Bounds(threads=2, waiting=64)) as running:
        asyncio.run(_ask_for_a_while(running, 2, 1.0))  # what is read once is read
        before = _rss_mb()
        seen = asyncio.run(_ask_for_a_while(running, CLIENTS, SECONDS))
        grown = _rss_mb() - before
    assert set(seen.statuses) == {200}
    assert seen.statuses[200] > CLIENTS
    assert np.quantile(seen.seconds, 0.99) < LONGEST_S
    assert grown < MOST_MB


def test_beyond_the_bound_clients_are_told_to_come_back(served_study):
    with served(served_study, bounds=Bounds(threads=1, waiting=4)) as running:
        seen = asyncio.run(_ask_for_a_while(running, CLIENTS, 1.5))
        assert set(seen.statuses) <= {200, 503}
        assert seen.statuses[503] > 0
        assert seen.statuses[200] > 0
        assert seen.without_advice == 0
        alone = asyncio.run(_ask_for_a_while(running, 1, 0.3))
        assert set(alone.statuses) == {200}


def test_clients_that_go_away_in_the_middle_do_no_harm(served_study):
    async def rude(running) -> None:
        for number in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            path = MIX[number % len(MIX)]
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {running.token}\r\n\r\n".encode()
            )
            await writer.drain()
            if number % 2:
                await reader.read(10)
            writer.transport.abort()

    with served(served_study, bounds=Bounds(threads=2, waiting=64)) as running:
        asyncio.run(rude(running))
        seen = asyncio.run(_ask_for_a_while(running, 2, 0.5))
    assert set(seen.statuses) == {200}


@pytest.mark.parametrize("lines", ["GET /study HTTP/1.1\r\nHost: localho", "G"])
def test_clients_that_never_finish_asking_hold_nobody_up(served_study, lines):
    async def slow(running) -> Seen:
        held = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(40)]
        for _, writer in held:
            writer.write(lines.encode())
            await writer.drain()
        seen = await _ask_for_a_while(running, 2, 0.3)
        for _, writer in held:
            writer.close()
        return seen

    with served(served_study) as running:
        assert set(asyncio.run(slow(running)).statuses) == {200}
