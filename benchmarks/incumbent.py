"""The sampler beside devinterp, on the same models, data and hyperparameters.

devinterp 2 samples language models only; any other loss needs devinterp 1. Both stand in
environments of their own, in the folder of `--incumbent` or of the variable INCUMBENT, and
`--install` puts them there. Each measurement has a process and one thread of its own; the tools
alternate.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
import torch
from tools import BATCH_SIZES, problem_of

from ontogeny.analysis.diagnostics import effective_draws
from ontogeny.problems import untrained
from ontogeny.streams import random_stream

ROUNDS, BURN_IN = 3, 20
CASES = {  # a title, the incumbent, and how long to train first
    "104k": ("language model, 104k parameters, 32 × 64 tokens", "devinterp 2.0.1", 200),
    "3M": ("language model, 3M parameters, 8 × 64 tokens", "devinterp 2.0.1", 60),
    "regression": ("regression, 52k parameters, 128 × 16 tokens", "devinterp 1.3.2", 400),
}
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("INCUMBENT", Path.home() / ".cache" / "ontogeny" / "incumbent"))


def python_of(folder, tool):
    """The interpreter of a tool."""
    return sys.executable if tool == "ontogeny" else folder / tool.replace(" ", "-") / "bin/python"


def install(folder):
    """Make the environments, with the versions of torch and numpy that stand beside this one."""
    pip = ["-m", "pip", "install", "--quiet", "--constraint", HERE.parent / "constraints.txt"]
    for tool in {tool for _, tool, _ in CASES.values()}:
        python = python_of(folder, tool)
        venv.create(python.parents[1], with_pip=True)
        subprocess.run([python, *pip, "torch"], check=True)
        needed = [tool.replace(" ", "=="), "jaxtyping", "scipy"]  # the latter for our problems
        subprocess.run([python, *pip, *needed], check=True)


def trained_state(case, steps):
    """The weights of a case after a little training."""
    problem = problem_of(case)
    model, stream = untrained(problem, seed=0), random_stream(0, "benchmark training")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        problem.loss(model, problem.batch(BATCH_SIZES[case], stream)).mean().backward()
        optimizer.step()
    return model.state_dict()


def measure(folder, tool, case, weights, seed):
    """Draws per second and per CPU second, effective draws per second, peak memory in MB."""
    settings = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(HERE.parent / "src")}
    command = [python_of(folder, tool), HERE / "tools.py", tool, case, weights, str(seed)]
    done = subprocess.run(
        command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    losses = np.array(found["losses"])
    counts = np.array([losses.size, losses.size, effective_draws(losses[:, BURN_IN:])])
    rates = counts / [found["seconds"], found["cpu"], found["seconds"]]
    return *rates, found["memory"] / 1e6


def compare(folder, case, weights):
    """Rows of the table: both tools, and ours over the other, medians of alternated rounds."""
    title, other, _ = CASES[case]
    rounds = {"ontogeny": [], other: []}
    for i in range(ROUNDS):
        for tool in sorted(rounds, reverse=bool(i % 2)):
            rounds[tool].append(measure(folder, tool, case, weights, seed=i))
    for tool, found in rounds.items():
        draws, cpu, effective, memory = np.median(found, axis=0)
        print(f"| {title} | {tool} | {draws:.1f} | {cpu:.1f} | {effective:.1f} | {memory:.0f} MB |")
    ours, theirs = (np.array(found) for found in rounds.values())
    ratios = " | ".join(f"{ratio:.2f}" for ratio in np.median(ours / theirs, axis=0))
    print(f"| | ratio | {ratios} |", flush=True)


def main():
    """Install, or say what is missing, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--incumbent", type=Path, default=CACHE, help="folder of its environments")
    parser.add_argument("--install", action="store_true", help="make the environments first")
    arguments = parser.parse_args()
    folder = arguments.incumbent.absolute()
    if arguments.install:
        install(folder)
    if not all(python_of(folder, tool).exists() for _, tool, _ in CASES.values()):
        command = f"{sys.executable} {__file__} --install"
        print(f"Not measured: devinterp is not in {folder}; `{command}` puts it there.")
        return
    print(f"Medians of {ROUNDS} alternated rounds of one chain, on one thread of a CPU.\n")
    print("| problem | tool | draws / s | draws / CPU s | effective draws / s | peak memory |")
    print("|:--|:--|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as scratch:
        for case, (_, _, steps) in CASES.items():
            weights = Path(scratch) / case
            torch.save(trained_state(case, steps), weights)
            compare(folder, case, weights)


if __name__ == "__main__":
    main()
