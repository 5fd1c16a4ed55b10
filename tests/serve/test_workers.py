"""What is beyond the bounds is refused at once, and what runs stays bounded."""

import asyncio
import json
import threading
import time

import pytest

from leadlight.serve.answers import json_answer
from leadlight.serve.refusals import Busy
from leadlight.serve.remembered import Memory
from leadlight.serve.workers import Workers


def test_so_many_run_so_many_wait_and_one_more_is_refused():
    async def play():
        workers = Workers(threads=2, waiting=3, limit_s=20)
        go = threading.Event()
        running, most = [0], [0]

        def work():
            running[0] += 1
            most[0] = max(most[0], running[0])
            go.wait(10)
            running[0] -= 1
            return True

        tasks = [asyncio.create_task(workers.run(work)) for _ in range(8)]
        await asyncio.sleep(0.2)
        go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        workers.close()
        return most[0], found

    most, found = asyncio.run(play())
    assert most == 2
    assert found.count(True) == 5
    assert sum(isinstance(one, Busy) for one in found) == 3


def test_a_question_that_takes_too_long_is_refused_and_keeps_its_place():
    async def play():
        workers = Workers(threads=1, waiting=5, limit_s=0.2)
        go = threading.Event()
        with pytest.raises(Busy, match="longer than"):
            await workers.run(lambda: go.wait(10))
        # Its thread still runs, so the next one cannot begin.
        with pytest.raises(Busy, match="longer than"):
            await workers.run(lambda: True)
        go.set()
        await asyncio.sleep(0.1)
        found = await workers.run(lambda: True)
        workers.close()
        return found

    assert asyncio.run(play()) is True


def test_faults_of_the_work_come_through():
    async def play():
        workers = Workers(threads=1)
        with pytest.raises(KeyError):
            await workers.run(lambda: {}["nothing"])
        found = await workers.run(lambda: 1)
        workers.close()
        return found

    assert asyncio.run(play()) == 1


def test_what_is_remembered_is_made_once_and_again_when_files_change():
    memory, made = Memory(2), []

    def make():
        time.sleep(0.05)
        made.append(1)
        return len(made)

    threads = [threading.Thread(target=memory.get, args=("a", (1,), make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert memory.get("a", (1,), make) == 1
    assert memory.get("a", (2,), make) == 2
    memory.get("b", (1,), make)
    memory.get("c", (1,), make)
    assert memory.get("a", (2,), make) == 5  # pushed out by two others


def test_what_takes_long_to_make_does_not_hold_who_else_wants_it():
    memory, go = Memory(2, wait_s=0.05), threading.Event()
    maker = threading.Thread(target=memory.get, args=("a", (1,), lambda: go.wait(10)))
    maker.start()
    time.sleep(0.05)
    with pytest.raises(Busy, match="worked out"):
        memory.get("a", (1,), lambda: False)
    go.set()
    maker.join()
    assert memory.get("a", (1,), lambda: False) is True


def test_what_could_not_be_made_is_tried_again():
    memory, asked = Memory(2), []

    def make():
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("not yet")
        return "made"

    with pytest.raises(ValueError, match="not yet"):
        memory.get("a", (1,), make)
    assert memory.get("a", (1,), make) == "made"


def test_numbers_that_json_has_not_become_null():
    answer = json_answer({"a": [1.5, float("nan")], "b": {"c": float("-inf")}, "d": (2, "NaN")})
    assert json.loads(answer.body) == {"a": [1.5, None], "b": {"c": None}, "d": [2, "NaN"]}
