r"""Samplers: how a chain walks through the weights around a checkpoint w*.

A sampler is two pure functions on flat vectors: `init(weights, center) -> state` and
`step(state, gradient, noise, settings) -> state`. The state holds what the chain needs next and
nothing else, the noise is standard normal and comes from the caller, and the weights of every
state are `state.weights`. Vectors may have leading axes, one for each of many chains. All of them
aim at

$$p(w) \propto \exp(-n\beta\, L(w) - (\gamma / 2)\, \|w - w^*\|^2)$$

and take the same ε: a direction in which the exponent has curvature k is stable if ε·k < 4 (for
`rmsprop`, ε times its preconditioner).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Method = Literal["sgld", "rmsprop", "underdamped"]

MULTIPLES = {"burn_in": "block", "draws": "block", "block": "pairing", "chains": "groups"}
DECAY = 0.99  # of the running mean of squared gradients in `rmsprop`
DAMPING = 0.1  # what `rmsprop` adds to its root


@dataclass(frozen=True)
class Sampler:
    """How the neighbourhood of a checkpoint is sampled; the same at every checkpoint.

    Attributes:
        method: How a chain moves: `step_sgld`, `step_rmsprop` or `step_underdamped`.
        step_size: ε, the variance of the noise in one step of SGLD.
        nbeta: nβ, multiplies the loss: the resolution at which it is looked at.
        localization: γ, strength of the pull towards the checkpoint.
        momentum: c, the share of its velocity that an underdamped chain keeps in one step.
        chains: Independent chains, all started at the checkpoint.
        draws: Draws of each chain, burn-in included.
        burn_in: Draws left out of averages.
        batch_size: Fresh examples in the minibatch of each draw.
        pairing: On the minibatch of every how many draws the loss of the checkpoint itself is
            measured too; 1 for every draw.
        block: How many draws one block mean of the losses by position covers.
        weights: Which weights move: names of components of the problem, or patterns of parameter
            names, separated by commas; all if empty.
        data: Which of the problem's other data sets the chains live on; its own if empty.
        precision: Relative standard error, such as 0.02, at which the chains stop before they have
            made all draws; 0 to make them all.
        groups: In how many groups, each from a starting point of its own, the chains are; 1 to
            start all of them at the checkpoint.
        batched: How many checkpoints go into one batched computation, with all their chains; 0 to
            walk one chain after another.
        seed: Which random numbers.

    Raises:
        ValueError: A setting is impossible.

    Examples:
        >>> Sampler(draws=100, burn_in=100)
        Traceback (most recent call last):
        ...
        ValueError: burn_in (100) must leave some of the 100 draws
    """

    method: Method = "underdamped"
    step_size: float = 1e-4
    nbeta: float = 66.67
    localization: float = 66.67
    momentum: float = 0.8
    chains: int = 4
    draws: int = 300
    burn_in: int = 100
    batch_size: int = 128
    pairing: int = 5
    block: int = 50
    weights: str = ""
    data: str = ""
    precision: float = 0.0
    groups: int = 1
    batched: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
            _require(fits, f"{field.name} must be {kind.__name__}, not {value!r}")
        methods = ", ".join(SAMPLERS)
        _require(self.method in SAMPLERS, f"method must be one of {methods}, not {self.method!r}")
        least = dict.fromkeys(("chains", "draws", "batch_size", "pairing", "block", "groups"), 1)
        least |= dict.fromkeys(("localization", "burn_in", "precision", "batched"), 0)
        for name, bound in least.items():
            value = getattr(self, name)
            _require(bound <= value < math.inf, f"{name} must be at least {bound}, not {value}")
            whole = name in ("localization", "precision") or isinstance(value, int)
            _require(whole, f"{name} must be a whole number, not {value}")
        for name in ("step_size", "nbeta"):
            value = getattr(self, name)
            _require(0 < value < math.inf, f"{name} must be positive, not {value}")
        for name in ("momentum", "precision"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} must be at least 0 and less than 1, not {value}")
        _require(
            self.burn_in < self.draws,
            f"burn_in ({self.burn_in}) must leave some of the {self.draws} draws",
        )
        for name, of in MULTIPLES.items():
            value, part = getattr(self, name), getattr(self, of)
            _require(value % part == 0, f"{name} ({value}) must be a multiple of {of} ({part})")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def relaxation(settings: Sampler) -> float:
    r"""In about how many draws a direction in which the loss is flat forgets where it started.

    Only the localization pulls there: $2 / (\varepsilon \gamma)$ draws, and for an underdamped
    chain $(1 - c) / (1 + c)$ times that, but at least $2 / \ln(1/c)$: with so little friction it
    swings to and fro. For `rmsprop` ε is that of the flat direction itself, where the
    preconditioner is 1/`DAMPING`.

    Returns:
        A number of draws, infinite without localization.

    Examples:
        >>> round(relaxation(Sampler(method="sgld", step_size=3e-4, localization=20 / 3)))
        1000
    """
    if not settings.localization:
        return math.inf
    draws = 2 / (settings.step_size * settings.localization)
    if settings.method == "underdamped":
        c = settings.momentum
        return max(draws * (1 - c) / (1 + c), -2 / math.log(c) if c else 0.0)
    return draws * DAMPING if settings.method == "rmsprop" else draws


def mala_acceptance(
    rise: Float[Tensor, "*chain"],
    pulls: Float[Tensor, "*chain parameter"],
    noise: Float[Tensor, "*#chain parameter"],
    step_size: Tensor | float,
) -> Float[Tensor, "*chain"]:
    r"""The probability with which a step of SGLD would be accepted, were it one of MALA.

    For the step $w' = w + \frac{\varepsilon}{2} F + \sqrt{\varepsilon}\, \eta$ with
    $F = -\nabla U(w)$ it is $\min(1, e^{-\Delta})$,

    $$\Delta = U(w') - U(w) + \tfrac12 \left( \|\eta'\|^2 - \|\eta\|^2 \right), \qquad
    \eta' = \eta + \tfrac{\sqrt{\varepsilon}}{2} (F + F').$$

    Args:
        rise: U(w') − U(w).
        pulls: F + F'.
        noise: η.
        step_size: ε, for all weights or for each.

    Examples:
        On U = w²/2, a step of ε = 1 from 0 to 2 and its pull back of −2: Δ = 2 + (1 − 4) / 2.

        >>> rise, pulls, noise = torch.tensor(2.0), torch.tensor([-2.0]), torch.tensor([2.0])
        >>> round(mala_acceptance(rise, pulls, noise, step_size=1.0).item(), 4)
        0.6065

    References:
        G. O. Roberts, R. L. Tweedie, "Exponential convergence of Langevin distributions and their
        discrete approximations" (1996).
    """
    kick = step_size**0.5 / 2 * pulls
    return (-rise - (kick * (noise + kick / 2)).sum(dim=-1)).clamp(max=0).exp()


# Overdamped --------------------------------------------------------------------------------------


class SGLD(NamedTuple):
    """State of stochastic gradient Langevin dynamics.

    Attributes:
        weights: w, where the chain is.
        center: w*, where it is pulled to.
    """

    weights: Float[Tensor, "*chain parameter"]
    center: Float[Tensor, "*#chain parameter"]


def init_sgld(
    weights: Float[Tensor, "*chain parameter"], center: Float[Tensor, "*#chain parameter"]
) -> SGLD:
    """A chain at its start."""
    return SGLD(weights, center)


def step_sgld(
    state: SGLD,
    gradient: Float[Tensor, "*chain parameter"],
    noise: Float[Tensor, "*#chain parameter"],
    settings: Sampler,
) -> SGLD:
    r"""One step of stochastic gradient Langevin dynamics.

    $$\Delta w = -\frac{\varepsilon}{2} \left( n\beta\, \nabla L + \gamma (w - w^*) \right)
    + \sqrt{\varepsilon}\, \eta$$

    Along a direction of curvature k its variance is too large by the factor 1/(1 − ε·k/4).

    Args:
        state: Where the chain is.
        gradient: ∇L, the gradient of the mean loss of a minibatch at `state.weights`.
        noise: η, standard normal.
        settings: ε, nβ and γ.

    Returns:
        Where it is next; the tensors of `state` are left as they are.

    Examples:
        >>> import torch
        >>> settings = Sampler(step_size=0.25, nbeta=4.0, localization=2.0)
        >>> state = init_sgld(torch.tensor([1.0]), torch.tensor([1.0]))
        >>> step_sgld(state, torch.tensor([1.0]), torch.tensor([3.0]), settings).weights
        tensor([2.])

    References:
        M. Welling, Y. W. Teh, "Bayesian learning via stochastic gradient Langevin dynamics"
        (ICML 2011), equation 4, with a constant step size.
    """
    w, center = state
    epsilon = settings.step_size
    drift = force(w, center, gradient, settings)
    return SGLD(w.add(drift, alpha=epsilon / 2).add_(noise, alpha=math.sqrt(epsilon)), center)


class RMSprop(NamedTuple):
    """State of SGLD with the preconditioner of RMSprop.

    Attributes:
        weights: w, where the chain is.
        center: w*, where it is pulled to.
        squares: v, the running mean of the squared gradient of the loss.
        steps: t, how many were made.
    """

    weights: Float[Tensor, "*chain parameter"]
    center: Float[Tensor, "*#chain parameter"]
    squares: Float[Tensor, "*chain parameter"]
    steps: int


def init_rmsprop(
    weights: Float[Tensor, "*chain parameter"], center: Float[Tensor, "*#chain parameter"]
) -> RMSprop:
    """A chain at its start, with v = 1."""
    return RMSprop(weights, center, torch.ones_like(weights), 0)


def step_rmsprop(
    state: RMSprop,
    gradient: Float[Tensor, "*chain parameter"],
    noise: Float[Tensor, "*#chain parameter"],
    settings: Sampler,
) -> RMSprop:
    r"""One step of SGLD whose step size in each weight follows the size of its gradient.

    $$v \leftarrow \alpha v + (1 - \alpha) (\nabla L)^2, \qquad
    \varepsilon_i = \frac{\varepsilon}{\sqrt{v_i / (1 - \alpha^{t + 1})} + a}, \qquad
    \Delta w_i = -\frac{\varepsilon_i}{2} \left( n\beta\, \nabla_i L + \gamma (w - w^*)_i \right)
    + \sqrt{\varepsilon_i}\, \eta_i$$

    v is 1 before the first step, its bias is corrected, and the localization stays out of it. The
    change of ε with w is left out of the drift, as everywhere in the field.

    Args:
        state: Where the chain is.
        gradient: ∇L, the gradient of the mean loss of a minibatch at `state.weights`.
        noise: η, standard normal.
        settings: ε, nβ and γ; α and a are `DECAY` and `DAMPING`.

    Returns:
        Where it is next; the tensors of `state` are left as they are.

    Examples:
        >>> import torch
        >>> settings = Sampler(step_size=0.2 * (10 + DAMPING), nbeta=1.0, localization=0.0)
        >>> state = init_rmsprop(torch.zeros(1), torch.zeros(1))
        >>> step_rmsprop(state, torch.ones(1), torch.zeros(1), settings).weights
        tensor([-0.1000])

    References:
        R. Hitchcock, J. Hoogland, "From global to local: a scalable benchmark for local posterior
        sampling" (2025, arXiv 2507.21449), algorithm 3.
    """
    w, center, squares, steps = state
    moved = RMSprop(w, center, DECAY * squares + (1 - DECAY) * gradient.square(), steps + 1)
    epsilon = step_sizes(moved, settings)
    drift = force(w, center, gradient, settings)
    return moved._replace(weights=w + epsilon / 2 * drift + epsilon**0.5 * noise)


def step_sizes(state: Any, settings: Sampler) -> Tensor | float:
    """ε of the step that led to a state: one number, or one for each weight in `rmsprop`."""
    if not isinstance(state, RMSprop):
        return settings.step_size
    root = (state.squares / (1 - DECAY**state.steps)).sqrt()
    return settings.step_size / (root + DAMPING)


# Underdamped -------------------------------------------------------------------------------------


class Underdamped(NamedTuple):
    """State of underdamped Langevin dynamics.

    Attributes:
        weights: w, where the chain is.
        center: w*, where it is pulled to.
        velocity: u, with unit mass.
    """

    weights: Float[Tensor, "*chain parameter"]
    center: Float[Tensor, "*#chain parameter"]
    velocity: Float[Tensor, "*chain parameter"]


def init_underdamped(
    weights: Float[Tensor, "*chain parameter"], center: Float[Tensor, "*#chain parameter"]
) -> Underdamped:
    """A chain at its start, at rest."""
    return Underdamped(weights, center, torch.zeros_like(weights))


def step_underdamped(
    state: Underdamped,
    gradient: Float[Tensor, "*chain parameter"],
    noise: Float[Tensor, "*#chain parameter"],
    settings: Sampler,
) -> Underdamped:
    r"""One step of underdamped Langevin dynamics: kick, half a drift, friction, half a drift.

    With $h = \sqrt{\varepsilon}$,

    $$u \leftarrow u - h \left( n\beta\, \nabla L + \gamma (w - w^*) \right), \quad
    w \leftarrow w + \tfrac{h}{2} u, \quad
    u \leftarrow c\, u + \sqrt{1 - c^2}\, \eta, \quad
    w \leftarrow w + \tfrac{h}{2} u.$$

    The positions are those of the BAOAB splitting, whose two half kicks meet where one gradient
    serves both. Along a direction of curvature k < 4/ε their variance is exactly 1/k: there is no
    bias of the step size on a quadratic, and one of fourth order in h beyond in the limit of high
    friction. For c = 0 the walk is overdamped with the step size ε of SGLD, the method of
    Leimkuhler and Matthews. A flat direction relaxes (1 + c)/(1 − c) times as fast as in SGLD;
    noise of the gradient heats that many times as much.

    Args:
        state: Where the chain is.
        gradient: ∇L, the gradient of the mean loss of a minibatch at `state.weights`.
        noise: η, standard normal.
        settings: ε, nβ, γ and c.

    Returns:
        Where it is next; the tensors of `state` are left as they are.

    Examples:
        >>> import torch
        >>> settings = Sampler(step_size=0.25, nbeta=4.0, localization=2.0, momentum=0.6)
        >>> state = init_underdamped(torch.tensor([1.0]), torch.tensor([1.0]))
        >>> step_underdamped(state, torch.tensor([1.0]), torch.tensor([3.0]), settings)[::2]
        (tensor([0.8000]), tensor([1.2000]))

    References:
        B. Leimkuhler, C. Matthews, "Rational construction of stochastic numerical methods for
        molecular sampling" (2013); "Robust and efficient configurational molecular sampling via
        Langevin dynamics" (2013).
    """
    w, center, velocity = state
    h, c = math.sqrt(settings.step_size), settings.momentum
    kicked = velocity.add(force(w, center, gradient, settings), alpha=h)
    slowed = (c * kicked).add_(noise, alpha=math.sqrt(1 - c**2))
    return Underdamped(w + h / 2 * (kicked + slowed), center, slowed)


def force(
    weights: Float[Tensor, "*chain parameter"],
    center: Float[Tensor, "*#chain parameter"],
    gradient: Float[Tensor, "*chain parameter"],
    settings: Sampler,
) -> Float[Tensor, "*chain parameter"]:
    r"""The gradient of the log density, $-n\beta\, \nabla L - \gamma (w - w^*)$."""
    pull = torch.sub(center, weights).mul_(settings.localization)
    return pull.sub_(gradient, alpha=settings.nbeta)


Init = Callable[[Tensor, Tensor], Any]
Step = Callable[[Any, Tensor, Tensor, Sampler], Any]

SAMPLERS: Mapping[Method, tuple[Init, Step]] = {
    "sgld": (init_sgld, step_sgld),
    "rmsprop": (init_rmsprop, step_rmsprop),
    "underdamped": (init_underdamped, step_underdamped),
}
