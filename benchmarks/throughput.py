"""What `train` costs beside a bare PyTorch loop of the same model on the same kind of batches.

python benchmarks/throughput.py [ROUNDS]

Both train the quick language model with fused attention, one after the other, several times over,
on one thread.
`train` also draws each batch from its own random stream, checks each loss, and keeps a checkpoint
every dozen steps, as the quick preset does; the bare loop is given its batches. Processor time
counts: other work on the machine does not change it much.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from ontogeny.presets import plan_language
from ontogeny.problems import untrained
from ontogeny.problems.attention import fused_attention
from ontogeny.training import train

STEPS = 400
EVERY = 12


def bare(problem, training, batches):
    """The loop as one would write it by hand."""
    model = untrained(problem, training.seed).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=True,
    )
    for batch in batches:
        with fused_attention():
            loss = problem.loss(model, batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ours(problem, training):
    """The same through `train`, from nothing to a finished run."""
    with tempfile.TemporaryDirectory() as folder:
        train(problem, Path(folder) / "run", training)


def seconds(work, *arguments):
    """Processor time of a piece of work."""
    began = time.process_time()
    work(*arguments)
    return time.process_time() - began


def main(rounds):
    """Print tokens a second of both, and their ratio."""
    torch.set_num_threads(1)
    plan = plan_language("quick", 0)
    training = replace(
        plan.training, steps=STEPS, log_checkpoints=2, linear_checkpoints=STEPS // EVERY
    )
    tokens = STEPS * training.batch_size * (plan.problem.settings["n_ctx"] - 1)
    generator = torch.Generator().manual_seed(0)
    batches = [plan.problem.batch(training.batch_size, generator) for _ in range(STEPS)]
    seconds(bare, plan.problem, training, batches[:20])  # nobody pays for the first steps
    ratios = []
    for _ in range(rounds):
        plain = seconds(bare, plan.problem, training, batches)
        whole = seconds(ours, plan.problem, training)
        ratios.append(plain / whole)
        print(
            f"bare loop {tokens / plain:,.0f} tokens/s, train {tokens / whole:,.0f} tokens/s: "
            f"{ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {sorted(ratios)[len(ratios) // 2]:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
