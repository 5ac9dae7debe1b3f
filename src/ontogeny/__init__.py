"""Ontogeny, the instrument for watching a neural network develop.

A *run* is a problem and its checkpoints; a *probe* is a function of a run; what a probe returns
is a frozen *record* of named arrays; everything after that is arithmetic on records.

```
records    what is measured and concluded
problems   what is learned: in-context regression, your own model and data
runs       a run: a problem and its checkpoints, and the one loop over them
training   descend the loss, keep dense checkpoints
probes     measuring a run: the sampler's chains, outputs, metrics, curvature
analysis   reading what was measured: learning coefficients, essential dynamics, stages
views      showing it: figures, one page, files for machines
plans      what to train and what to measure at which steps
presets    such plans: each system in three sizes
cli        the same verbs, from a shell
```

The folders are the API: `from ontogeny.analysis import find_stages`.
"""

__version__ = "0.1.0"
