"""Kill `leadlight run` at random moments of all its stages; look at what is left, and go on.

    python benchmarks/kills.py --kills 50 --rounds 4

A study of a few simulated hearts goes through every stage. In each round it starts from nothing, is
killed (SIGKILL, with all its processes) at moments drawn from the stages' measured times and from
the start of the program, is started again after each, and runs to its end. After each kill whatever
stands under a final name must be whole, and at the end all must be as an uninterrupted run left it:
tables, arrays and pictures to the last digit, pages but for their times. Exit code 1 where not.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reliability"))

from faulted_study import stages, write_inputs, write_study_file
from killing import Kills, kill_through
from runner import Runner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--people", type=int, default=34)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder; kept, and gone on from")
    asked = parser.parse_args()
    work = asked.work or Path(tempfile.mkdtemp(prefix="leadlight-kills-"))
    runner, chance = Runner(), random.Random(asked.seed)
    started = time.monotonic()
    times = _reference(runner, work, asked.people)
    study_file = write_study_file(work / "killed" / "study.toml", work / "inputs", quick=False)
    done = Kills()
    while done.total < asked.kills:
        left = asked.kills - done.total
        aim = min(left, -(-asked.kills // asked.rounds))
        kill_through(runner, study_file, work / "whole" / "study", times, aim, chance, done)
        print(f"{done.total} kills, {len(done.faults)} faults", file=sys.stderr, flush=True)
    runner.close()
    result = {
        "kills": done.total,
        "by_stage": {name: done.by_stage[name] for name in ("start-up", *times)},
        "rounds": done.rounds,
        "faults": done.faults,
        "stage_seconds": times,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(result, indent=2))
    sys.exit(1 if done.faults else 0)


def _reference(runner: Runner, work: Path, people: int) -> dict[str, float]:
    """Run the study once, uninterrupted; the seconds of its stages."""
    if not (work / "inputs").exists():
        write_inputs(work / "inputs", people)
    study_file = write_study_file(work / "whole" / "study.toml", work / "inputs", quick=False)
    code, told = runner.run("run", study_file, "--quiet")
    if code:
        raise SystemExit(told)
    state = json.loads((work / "whole" / "study" / "run.json").read_text(encoding="utf-8"))
    return {name: float(state[name]["seconds"]) for name in stages(quick=False)}


if __name__ == "__main__":
    main()
