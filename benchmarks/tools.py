"""The tools that incumbent.py compares: `python tools.py TOOL CASE WEIGHTS SEED` measures one.

A tool is made ready by `TOOLS[name](case, state, seed)`, which gives a function from the number of
draws to the losses along one chain. Settings are the same for all. devinterp gets the same loss
function, no progress bars and, on language models, a pass for the loss of the checkpoint for every
eighth draw instead of its 32; all else is as it comes.
"""

import json
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from language_model import SIZES, LanguageModel, corpus, language_problem, token_losses

STEP_SIZE, NBETA, LOCALIZATION = 1e-3, 30.0, 300.0  # usual in the field (arXiv 2504.18274)
DRAWS = {"104k": 200, "3M": 100, "regression": 200}  # of one chain
BATCH_SIZES = {"104k": 32, "3M": 8, "regression": 128}


def problem_of(case):
    """The problem of a case."""
    from ontogeny.problems import regression

    return regression() if case == "regression" else language_problem(SIZES[case])


def ontogeny(case, state, seed):
    """The sampler under test."""
    from ontogeny.probes import Sampler, sample_chains

    problem = problem_of(case)
    common = {"step_size": STEP_SIZE, "nbeta": NBETA, "localization": LOCALIZATION, "seed": seed}
    common |= {"method": "sgld", "chains": 1, "burn_in": 0, "batch_size": BATCH_SIZES[case]}

    def sample(draws):
        settings = Sampler(draws=draws, block=min(draws, 50), **common)
        return sample_chains(problem, 0, state, settings).losses

    return sample


def devinterp_2(case, state, seed):
    """The incumbent for language models."""
    from datasets import Dataset
    from devinterp.slt import sampling

    model = LanguageModel(SIZES[case])
    model.load_state_dict(state)
    dataset = Dataset.from_dict({"input_ids": corpus(SIZES[case]).numpy()}).with_format("torch")

    def sample(draws):
        with tempfile.TemporaryDirectory() as folder:
            found = sampling.sample(
                model,
                dataset,
                observables={},
                lr=STEP_SIZE,
                n_beta=NBETA,
                localization=LOCALIZATION,
                num_chains=1,
                num_draws=draws,
                batch_size=BATCH_SIZES[case],
                num_init_loss_batches=draws // 8,
                init_seed=seed,
                output_path=Path(folder) / "samples.zarr",
                loss_fn=token_losses,
            )
            return found.dataset.sampling_loss_micro.values.mean(axis=(2, 3))

    return sample


def devinterp_1(case, state, seed):
    """The incumbent for other losses."""
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary

    problem = problem_of(case)
    model = problem.model()
    model.load_state_dict(state)
    examples = problem.batch(8192, torch.Generator().manual_seed(seed))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*examples), BATCH_SIZES[case], shuffle=True
    )
    return lambda draws: estimate_learning_coeff_with_summary(
        model,
        loader,
        evaluate=lambda model, batch: problem.loss(model, batch).mean(),
        optimizer_kwargs={"lr": STEP_SIZE, "nbeta": NBETA, "localization": LOCALIZATION},
        num_chains=1,
        num_draws=draws,
        seed=seed,
        verbose=False,
    )["loss/trace"]


TOOLS = {"ontogeny": ontogeny, "devinterp 2.0.1": devinterp_2, "devinterp 1.3.2": devinterp_1}


def peak_memory():
    """Bytes of this process at most; getrusage would count those of the one that started it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def measure(tool, case, weights, seed):
    """Seconds for all draws, seconds of the processor, peak memory in bytes, and the losses."""
    torch.set_num_threads(1)
    sample = TOOLS[tool](case, torch.load(weights, weights_only=True), int(seed))
    sample(10)  # what is slow only the first time
    start, start_cpu = time.perf_counter(), time.process_time()
    losses = sample(DRAWS[case])
    taken, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return {"seconds": taken, "cpu": cpu, "memory": peak_memory(), "losses": losses.tolist()}


if __name__ == "__main__" and sys.argv[1:]:
    warnings.simplefilter("ignore")
    print(json.dumps(measure(*sys.argv[1:])))
