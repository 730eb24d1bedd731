r"""A model on a finer grid of the same domain, with the weights that it has.

A field on a torus that is sampled at n sites can be sampled at `factor` n. A model of it on one
grid is asked on the other if all its parts say what they are there: the network, whose weights
must not count sites (`networks.FourierOperator`), and the noise, whose lengths grow with the sites
(`Covariance.refined`). Noise that is smooth at the scale of a site is then the same field at each
time, and what was learned of its waves holds. White noise is not: it spreads its variance over
waves that the old grid lacks, and in the others the network meets less noise than it was taught.
"""

from __future__ import annotations

from typing import Any, TypeVar

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws.numbers import repeated
from markovbridge.processes.reals import Diffusion
from markovbridge.transport.asked import Asked
from markovbridge.transport.bases import base_of
from markovbridge.transport.saved import PARTS

T = TypeVar("T", bound=Asked)


def refined(transport: T, factor: int) -> T:
    """The model on a grid that is `factor` times as fine; see `Transport.refined`."""
    checks.whole(factor, "factor", least=1)
    channels, *sizes = transport.shape
    if not sizes:
        raise ValueError(
            f"events of shape {transport.shape} have no axes of space to be refined: these are "
            "all but the first"
        )
    dimension = len(sizes)
    process, network, head = transport.process, transport.network, transport.head
    if not isinstance(process, Diffusion):
        raise NotImplementedError(
            f"{type(process).__name__} counts or classes each site, and is not known on a finer "
            "grid: take a LinearDiffusion"
        )
    if head is None and hasattr(network, "refined"):
        network = network.refined(factor, dimension)  # pyright: ignore[reportFunctionMemberAccess]
    elif not getattr(network, "any_grid", False):
        raise NotImplementedError(
            f"{type(network).__name__} is a network for events of one size, here "
            f"{transport.shape}: train a networks.FourierOperator, or set `any_grid = True` on a "
            "network of yours whose weights serve every grid"
        )
    parts: dict[str, Any] = {part: getattr(transport, part) for part in PARTS}
    parts |= {
        "process": process.refined(factor, dimension),
        "network": network,
        "coupling": transport.coupling.refined(factor, dimension),
        "base": base_of(transport.base).refined(factor, dimension),
    }
    made = type(transport)(
        **parts,
        shape=(channels, *(factor * n for n in sizes)),
        mean=repeated(transport.mean, factor, dimension),
        variance=repeated(transport.variance, factor, dimension),
        seen=None if transport.seen is None else repeated(transport.seen, factor, dimension),
    )
    made.autocast = transport.autocast
    return made.train(transport.training)


doors.guard(__name__, inside=("refined",))
