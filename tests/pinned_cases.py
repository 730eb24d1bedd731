"""What tiny models are made of: data, networks whose weights are functions of their names alone.

`SAMPLERS` holds one or more of every class of sampler.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import couplings, exact, heads, networks, processes, samplers
from markovbridge.transport import features

COUNTS = torch.tensor([[0, 1, 4], [2, 0, 0], [3, 3, 1], [1, 4, 2], [0, 2, 0]])
REALS = torch.tensor(
    [[0.5, -1.2, 0.3], [-0.4, 0.9, 1.1], [1.6, 0.2, -0.7], [0.0, -0.5, 0.8], [-1.3, 0.4, 0.1]]
)
PROBABILITIES = torch.tensor([0.3, 0.1, 0.2, 0.25, 0.15]).double()
CLASSES = mb.data.Covariates((mb.data.Covariate("label", ("a", "b", "c")),))
LABELS = {"label": ["a", "c", "b", None, "a"]}
TOLD = {"covariates": CLASSES, "told": LABELS, "guidance": 1.5}

# For every class of sampler: instances, and how many steps they make.
SAMPLERS: dict[str, tuple[samplers.Sampler, int]] = {
    "adaptive": (samplers.Adaptive(2.0), 1),
    "bridge": (mb.Bridge(), 3),
    "corrected": (mb.Corrected(), 2),
    "corrected leaps": (mb.Corrected(mb.TauLeaping(), moves=2, size=0.3), 2),
    "euler": (mb.EulerMaruyama(), 3),
    "euler, half the noise": (mb.EulerMaruyama(0.5, last="end"), 3),
    "flow": (mb.ProbabilityFlow(), 3),
    "flow, adams": (mb.ProbabilityFlow("adams"), 3),
    "flow, euler": (mb.ProbabilityFlow("euler"), 3),
    "gillespie": (mb.Gillespie(ends=0.45), 1),
    "hand-over": (mb.HandOver(0.5), 3),
    "hand-over, planned": (mb.HandOver(then=mb.Bridge(), plans=((1.0,), (0.2,))), 3),
    "midpoint": (mb.Midpoint(), 3),
    "second order": (samplers.SecondOrderBridge(), 2),
    "stochastic adams": (mb.StochasticAdams(), 3),
    "stochastic heun": (mb.StochasticHeun(), 3),
    "tau-leaping": (mb.TauLeaping(), 3),
    "trapezoidal": (mb.Trapezoidal(), 3),
}


@dataclass(frozen=True)
class Case:
    """A model and what it is asked about.

    Attributes:
        model: The model.
        x: Data, (5, *event).
        state: States on the way to the data, likewise.
        x0: Sources that go with the data; None to let the coupling draw them.
        condition: What the model is told, (5, C), or None.
        guidance: How strongly that acts.
        known: Which sites `impute` is given, (*event).
        saved: Whether a saved model is the same model.
    """

    model: mb.Transport
    x: Tensor
    state: Tensor
    x0: Tensor | None = None
    condition: Tensor | None = None
    guidance: float = 1.0
    known: Tensor | None = None
    saved: bool = True


def tiny(*size, **more) -> networks.MLP:
    return networks.MLP(*size, width=4, depth=1, **more)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """A network whose weights are functions of their names."""
    for name, weight in network.named_parameters():
        draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        weight.data = 0.3 * torch.randn(weight.shape, generator=draw)
    return network


def case(
    process: processes.Process,
    head: heads.Head | None,
    x: Tensor,
    *,
    state: Tensor | None = None,
    network: Callable = tiny,
    law: Callable | None = None,
    coupling: couplings.Coupling | None = None,
    masking: mb.Masking | None = None,
    covariates: mb.data.Covariates | None = None,
    told: dict | None = None,
    guidance: float = 1.0,
    x0: Tensor | None = None,
    saved: bool = True,
    base: exact.DataLaw | exact.BaseFit | str | None = None,
    **options,
) -> Case:
    """A model with a network or, with head=None, an exact law."""
    shape = tuple(x.shape[1:])
    if isinstance(base, exact.BaseFit):
        base = base(process, x)
    if head is not None:
        seen = features(process, coupling or mb.Noised(), base=base, masking=masking, head=head)
        more = {"condition": len(covariates.names)} if covariates else {}
        law = filled(network(shape, seen, head.outputs(process), **more))
    mean, variance = mb.statistics(x if process.support is None else process.check(x))
    model = mb.Transport(
        process,
        law,
        head,
        shape=shape,
        mean=mean,
        variance=variance,
        coupling=coupling,
        masking=masking,
        covariates=covariates,
        base=base,
        **options,
    )
    state = (x * 0.5).to(x.dtype) if state is None else state
    condition = covariates.encode(told, len(x)) if covariates else None
    known = (torch.arange(x[0].numel()) % 2 == 0).reshape(shape)
    return Case(model, x, state, x0, condition, guidance, known, saved)


def empirical(process: processes.Process, x: Tensor, **options) -> Case:
    law = exact.Empirical(process, x, PROBABILITIES, **options)
    return case(process, None, x, law=law, objective=mb.EndMSE(), saved=False)
