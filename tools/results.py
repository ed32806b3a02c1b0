#!/usr/bin/env python3
"""Runs pipelines/fashion-mnist.toml for three seeds, and the ablations for one, and writes docs/results.md.

`make results` calls it and sets UNDERSTUDY (the executable) and CACHE. Each seed decides anew which images are labelled, which are not, and all of what a training draws.
As many trainings go side by side as there are cores, each with one thread, which takes half the time of one after the other with all of them. Run it again after Ctrl-C or a
crash: what is done is not done again. Lines of progress go to CACHE/results/*.log.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = "pipelines/fashion-mnist.toml"
PAGE = ROOT / "docs" / "results.md"
SEEDS = (1, 2, 3)
#: The seed of the ablations.
ABLATED = 1
#: What is a seed in the pipeline file.
SEEDED = ("source.split.seed", "data.split.seed", "teacher.student.seed", "teacher.train.seed", "round.*.student.seed", "round.*.train.seed", "round.*.select.seed")


PAGE_TEXT = """# Results on Fashion-MNIST with 1,000 labels

`make results` makes this page from nothing: [`tools/results.py`](../tools/results.py) runs [`pipelines/fashion-mnist.toml`](../pipelines/fashion-mnist.toml) for three seeds, and the ablations
for one. A seed decides which 1,000 training images are labelled (100 a class), which 54,000 are unlabelled, the first weights, the order and the noise. The settings were chosen on other
training images (`2..6/60`); each figure is one reading of the 10,000 test images; labels of the unlabelled images were never read. The control has the student's
network, noise, optimizer, learning rates, average of weights, steps and images a step, and no pseudo-labels.

## Top-1 on the test images

{accuracies}

{gains}

McNemar's test, of the same images judged by two models:

{tests}

## Ablations, seed {seed}

{ablations}

## Time

On {cores} cores ({machine}), {side_by_side} trainings side by side with one thread each; whatever else ran on the machine made them longer. Of a stage that was interrupted the last part alone counts as one; the others are in the sum, those that were killed are not:

{durations}
"""


class Ablation(NamedTuple):
    """A student of the first round, with one thing different."""

    name: str
    what: str
    settings: Tuple[str, ...]


ABLATIONS = (
    Ablation("no-noise", "pseudo-labelled images are not noised", ("round.*.noise_file=noise/fashion-mnist-no-noise.toml",)),
    Ablation("noised-teacher", "the teacher labels under noise", ("round.*.teacher_noise_file=noise/fashion-mnist.toml",)),
)


def folder() -> Path:
    """Where the workspace and the logs are."""
    return Path(os.environ["CACHE"]) / "results"


def understudy(*words: str, log: str) -> str:
    """Runs the executable, and gives what it prints."""
    path = folder() / f"{log}.log"
    with path.open("a") as stderr:
        done = subprocess.run([os.environ["UNDERSTUDY"], *words, "--workspace", str(folder() / "workspace")],
                              cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: `understudy {words[0]}` ended with exit code {done.returncode}\n\nhint: `{path}` says why; the same command goes on from there")
    return done.stdout


def run(name: str, seed: int, *words: str) -> List[dict]:
    """One `understudy run`; the models that it made."""
    data = Path(os.environ["CACHE"]) / "fashion-mnist"
    train = data / "train-images-idx3-ubyte.gz"
    pairs = [f"run.name={name}", f"run.dataset=fashion-unlabelled-{seed}", f"run.source={train}", f"data.url={train}",
             f"held_out.url={data / 't10k-images-idx3-ubyte.gz'}", *(f"{key}={seed}" for key in SEEDED)]
    settings = [word for pair in pairs for word in ("--set", pair)]
    models = json.loads(understudy("run", PIPELINE, "--threads", "1", "--json", *settings, *words, log=name))["models"]
    print(f"{name}: " + ", ".join(f"{m['model']} {percent(m)}" for m in models), file=sys.stderr, flush=True)
    return models


def percent(model: dict) -> str:
    """Its top-1."""
    return f"{100 * model['top1']['share']:.2f} %"


def of(models: List[dict], role: str, number: int) -> dict:
    """The teacher, control or student of a round."""
    return next(m for m in models if (m["role"], m["round"]) == (role, number))


def points(better: dict, worse: dict) -> float:
    """How many points of top-1 lie between two models."""
    return 100 * (better["top1"]["share"] - worse["top1"]["share"])


def spread(values: List[float], form: str) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):.2f}"


def table(rows: List[List[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def accuracies(seeds: Dict[int, List[dict]]) -> str:
    """The table of the models."""
    columns = (("teacher", 0), ("control", 1), ("student", 1), ("student", 2))
    models = {seed: [of(made, *column) for column in columns] for seed, made in seeds.items()}
    rows = [["seed", "teacher", "control", "student", "student of round 2"]]
    rows += [[str(seed), *map(percent, row)] for seed, row in models.items()]
    means = zip(*models.values())
    return table(rows + [["mean ± standard deviation", *(spread([100 * m["top1"]["share"] for m in column], ".2f") + " %" for column in means)]])


def gains(seeds: Dict[int, List[dict]]) -> str:
    """The table of the differences."""
    pairs = (("student − teacher", ("student", 1), ("teacher", 0)), ("student − control", ("student", 1), ("control", 1)),
             ("round 2 − round 1", ("student", 2), ("student", 1)), ("round 2 − teacher", ("student", 2), ("teacher", 0)))
    rows = [["points", *(f"seed {seed}" for seed in seeds), "mean ± standard deviation"]]
    for name, better, worse in pairs:
        values = [points(of(made, *better), of(made, *worse)) for made in seeds.values()]
        rows.append([name, *(f"{value:+.2f}" for value in values), spread(values, "+.2f")])
    return table(rows)


def tests(seeds: Dict[int, List[dict]]) -> str:
    """The table of McNemar's tests."""
    def p(model: dict, other: str) -> str:
        value = model[f"against_{other}"]["p_value"]
        return "< 0.0001" if value < 0.0001 else f"{value:.4f}"

    rows = [["p", *(f"seed {seed}" for seed in seeds)]]
    rows.append(["student, teacher", *(p(of(made, "student", 1), "teacher") for made in seeds.values())])
    rows.append(["student, control", *(p(of(made, "student", 1), "control") for made in seeds.values())])
    rows.append(["round 2, round 1", *(p(of(made, "student", 2), "teacher") for made in seeds.values())])
    return table(rows)


def durations() -> str:
    """The table of what took how long."""
    query = """SELECT kind, count(*) FILTER (WHERE outcome = 'done') AS stages, min(seconds) FILTER (WHERE outcome = 'done') AS shortest,
                      max(seconds) FILTER (WHERE outcome = 'done') AS longest, sum(seconds) AS together
               FROM runs WHERE outcome IN ('done', 'interrupted') GROUP BY kind ORDER BY together DESC"""
    found = [json.loads(line) for line in understudy("sql", query, "--format", "json", log="figures").splitlines()]
    minutes = [[f"{row[key] / 60:.1f}" for key in ("shortest", "longest", "together")] for row in found]
    return table([["minutes", "stages", "shortest", "longest", "together"], *([row["kind"], str(row["stages"]), *figures] for row, figures in zip(found, minutes))])


def main() -> None:
    """Runs what is not done, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1, metavar="N", help="trainings at a time [default: one a core]")
    side_by_side = parser.parse_args().side_by_side
    folder().mkdir(parents=True, exist_ok=True)
    understudy("init", log="init")
    with ThreadPoolExecutor(side_by_side) as pool:
        runs = {seed: pool.submit(run, f"fashion-{seed}", seed) for seed in SEEDS}
        seeds = {seed: made.result() for seed, made in runs.items() if seed == ABLATED}
        teacher = of(seeds[ABLATED], "teacher", 0)["model"]
        fixed = ("--round", "1", "--set", "round.1.control=false", "--set", f'teacher={{ name = "{teacher}" }}')
        ablations = {a: pool.submit(run, f"fashion-{ABLATED}-{a.name}", ABLATED, *fixed, *(word for pair in a.settings for word in ("--set", pair))) for a in ABLATIONS}
        seeds |= {seed: made.result() for seed, made in runs.items()}
        students = {a: of(made.result(), "student", 1) for a, made in ablations.items()}
    full = of(seeds[ABLATED], "student", 1)
    rows = [["student of round 1", "top-1", "points"], ["as above", percent(full), ""]]
    rows += [[a.what, percent(student), f"{points(student, full):+.2f}"] for a, student in students.items()]
    PAGE.write_text(PAGE_TEXT.format(accuracies=accuracies(seeds), gains=gains(seeds), tests=tests(seeds), seed=ABLATED, ablations=table(rows),
                                     durations=durations(), cores=os.cpu_count(), machine=platform.machine(), side_by_side=side_by_side))
    print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
