"""Can each family be learnt through our tokens? One small dense specialist a task, trained on it alone.

    python tests/benchmarks/specialists.py [--family F ...] [--tokens 1M] [--workers 2] [--out table.jsonl]

In every family the base tasks at the quartiles of training tokens are tried (all of them where there are at
most five). Prints fraction of the expert on the report episodes; a family passes where a third of them
reaches 0.9. With --out, what was tried before is tried again only where it fell short of 0.9 and --tokens
allows for more.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

from search.commands.options import whole
from space.catalog import OWN_SETTINGS, load_catalog
from space.records import TaskRecord
from trainers.tasks.processes import in_processes

GOOD, SHARE = 0.9, 1 / 3
FEW = 5


def chosen(records: list[TaskRecord], tokens: dict[str, int]) -> list[str]:
    """Names of the base tasks at the quartiles of a family, or all where there are few."""
    names = sorted((r.name for r in records if not r.variant), key=lambda name: (tokens[name], name))
    if len(names) <= FEW:
        return names
    return [names[round(share * (len(names) - 1))] for share in (0.25, 0.5, 0.75)]


def try_task(name: str, tokens: int) -> dict[str, object]:
    """Train a specialist of a task and score it on the report episodes."""
    import torch

    from trainers.evaluate import ModelPolicy
    from trainers.specialist import train_specialist
    from trainers.tasks.registry import load_task

    torch.set_num_threads(1)
    suite = load_catalog().suite(OWN_SETTINGS)
    task, record = load_task(name, suite), suite.records[name]
    task.episodes()
    started = time.monotonic()
    decoder = train_specialist(suite, name, tokens)
    trained = time.monotonic()
    values = task.score(ModelPolicy(decoder), "report", task.eval_episodes)
    return {
        "family": record.family,
        "task": name,
        "fraction": round(record.fraction(float(values.mean()), "report"), 3),
        "value": round(float(values.mean()), 4),
        "episodes": len(values),
        "tokens": tokens,
        "epochs": round(tokens / suite.tokens[name], 1),
        "training_seconds": round(trained - started),
        "scoring_seconds": round(time.monotonic() - trained),
        "parameters": sum(p.numel() for p in decoder.parameters()),
    }


def main() -> None:
    """Try the tasks that were not tried before, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", action="append")
    parser.add_argument("--task", action="append")
    parser.add_argument("--tokens", type=whole, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("specialists.jsonl"))
    options = parser.parse_args()
    suite = load_catalog().suite(OWN_SETTINGS)
    families: dict[str, list[TaskRecord]] = {}
    for record in suite.records.values():
        families.setdefault(record.family, []).append(record)
    wanted = options.task or [
        name
        for family in options.family or sorted(families)
        for name in chosen(families[family], suite.tokens)
    ]
    done = {row["task"]: row for row in _lines(options.out)}
    todo = [
        name
        for name in wanted
        if name not in done or (done[name]["fraction"] < GOOD and done[name]["tokens"] < options.tokens)
    ]
    for name, result in in_processes(partial(try_task, tokens=options.tokens), todo, options.workers):
        done[name] = result()
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[name]) + "\n")
        print(json.dumps(done[name]), flush=True)
    rows = sorted((done[name] for name in wanted), key=lambda row: (row["family"], row["task"]))
    for family in dict.fromkeys(row["family"] for row in rows):
        here = [row for row in rows if row["family"] == family]
        good = sum(row["fraction"] >= GOOD for row in here)
        verdict = "passes" if good >= SHARE * len(here) else "FAILS"
        told = ", ".join(f"{row['task']} {row['fraction']:.2f}" for row in here)
        print(f"{family:16} {verdict}  {good} of {len(here)} at {GOOD:g} or more: {told}")


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
