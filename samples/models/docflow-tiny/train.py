"""Train docflow-tiny: ``python samples/models/docflow-tiny/train.py DIR [--steps N]``; the same command goes on.

``--export FOLDER`` writes what was learned so far as a model; ``evaluate.py`` says how well it reads. Training needs
torch beside docflow and the samples' dependencies, exporting transformers, too. SIGTERM ends the training within
seconds, with a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from tiny_reader.model import Shape
from tiny_reader.questions import vocabulary
from tiny_reader.training import Plan, Run
from torch import distributed

SAVE_SECONDS = 120
CHECK_STEPS = 100
LOG_STEPS = 10
RANK, MEETING = "DOCFLOW_TINY_RANK", "DOCFLOW_TINY_MEETING"
"""What a process of several finds in its environment: its number, and the folder where they find each other."""


class Stop:
    """Set by SIGTERM or SIGINT; looked at between steps."""

    def __init__(self) -> None:
        self.asked = False
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def main() -> int:
    options = arguments()
    torch.set_num_threads(options.threads)
    plan = Plan(
        seed=options.seeds[0],
        steps=options.steps,
        rate=options.rate,
        tokens=options.tokens,
        optimizer=options.optimizer,
        warm_up=options.warm_up,
        decay=options.decay,
    )
    shape = Shape(vocabulary().size, hidden=options.hidden, heads=options.hidden // 32, layers=options.layers)
    if options.export:
        return write(begun(plan, shape, options.folder / f"seed-{plan.seed}"), options.export)
    stop = Stop()
    if options.processes > 1:
        return train_together(plan, shape, options, stop)
    runs = []
    for seed in options.seeds:
        run = begun(replace(plan, seed=seed), shape, options.folder / f"seed-{seed}")
        if len(options.seeds) > 1:
            train(run, stop, until=options.trial_steps)
        runs.append(run)
    if stop.asked:
        return 0
    best = min(runs, key=lambda run: (-run.progress.level, sum(run.progress.losses.values())))
    return train(best, stop, until=options.steps)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train docflow-tiny.")
    parser.add_argument("folder", type=Path, help="where checkpoints and logs are kept, a folder a seed")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[1])
    parser.add_argument("--trial-steps", type=int, default=1500, help="of several seeds the best after so many goes on")
    parser.add_argument("--steps", type=int, default=100_000, help="the learning rate falls over the last of them")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.4, help="the share of the steps over which the rate falls")
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=6000, help="a batch's, pages and text together")
    parser.add_argument("--optimizer", choices=("muon", "adam"), default="muon")
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="train a seed in so many, each with its own batches")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the model of the (first) seed and end")
    return parser.parse_args()


def begun(plan: Plan, shape: Shape, folder: Path) -> Run:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = Run(plan, shape, folder, device, vocabulary())
    run.restore()
    return run


def train_together(plan: Plan, shape: Shape, options: argparse.Namespace, stop: Stop) -> int:
    """Train one seed in several processes: this one starts the others, and alone writes the log and the checkpoint."""
    rank = int(os.environ.get(RANK, "0"))
    folder = options.folder / f"seed-{plan.seed}"
    meeting = Path(os.environ.get(MEETING) or tempfile.mkdtemp()) / "meeting"
    others = [
        subprocess.Popen(
            [sys.executable, *sys.argv], env=os.environ | {RANK: str(number), MEETING: str(meeting.parent)}
        )
        for number in range(1, options.processes)
        if rank == 0
    ]
    distributed.init_process_group(
        "gloo",
        init_method=meeting.as_uri(),
        rank=rank,
        world_size=options.processes,
        timeout=timedelta(hours=6),  # the others may be held up for long
    )
    run = begun(plan, shape, folder)
    run.rank, run.peers = rank, options.processes
    code = train(run, stop, until=options.steps) if rank == 0 else follow(run, stop, until=options.steps)
    for other in others if code else ():
        other.terminate()
    return code or max((other.wait() for other in others), default=0)


def follow(run: Run, stop: Stop, until: int) -> int:
    """Take the steps that the first process takes."""
    while run.step < until and not stopped(run, stop):
        run.learn()
    return 0


def stopped(run: Run, stop: Stop) -> bool:
    """Whether any of the processes was asked to stop: all end after the same step."""
    asked = torch.tensor(float(stop.asked))
    if run.peers > 1:
        distributed.all_reduce(asked)
    return bool(asked)


def train(run: Run, stop: Stop, until: int) -> int:
    run.folder.mkdir(parents=True, exist_ok=True)
    parameters = sum(weights.numel() for weights in run.model.parameters())
    how = "again" if run.step else "anew"
    log(run, {"begins": how, "step": run.step, "parameters": parameters, "plan": vars(run.plan)})
    saved = time.process_time()
    while run.step < until and not stopped(run, stop):
        seen = run.learn()
        if run.step % LOG_STEPS == 0 or seen["advanced"]:
            log(run, seen)
        if run.step % CHECK_STEPS == 0:
            log(run, {"step": run.step, "level": run.progress.level, "validation": run.validate()})
            if run.progress.hopeless:
                log(run, {"step": run.step, "stops": "no field was ever right"})
                run.save()
                return 1
        if time.process_time() - saved > SAVE_SECONDS:
            run.save()
            saved = time.process_time()
    run.save()
    log(run, {"ends": "asked to" if stop.asked else "done", "step": run.step, "progress": run.progress.as_dict()})
    return 0


def write(run: Run, folder: Path) -> int:
    """Export the averaged weights."""
    from tiny_reader.export import export

    if not run.step:
        print(f"there is no checkpoint in {run.folder}", file=sys.stderr)
        return 1
    run.load_weights(run.average)
    export(run.model, run.vocabulary, folder)
    print(f"step {run.step} is in {folder}")
    return 0


def log(run: Run, what: dict[str, Any]) -> None:
    line = json.dumps({"time": time.strftime("%H:%M:%S"), "cpu": round(run.spent(), 1), **what})
    with (run.folder / "log.jsonl").open("a") as stream:
        stream.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
