"""How many steps a flow needs: orders of convergence, on a map that is known.

    python examples/flow_steps.py [--output flow_steps.png]

Without noise, bridges are straight lines, and their mixture is a flow: flow matching (Lipman and
others, https://arxiv.org/abs/2210.02747). From N(-1, 1/4) to N(2, 9/4) it moves x_0 along

    x_t = m_t + (x_0 + 1) s_t/s_0,   m_t = 3t - 1,   s_t² = (1 - t)²/4 + 9t²/4,

and ends at 2 + 3(x_0 + 1). The law of x_1 is exact (`exact.Gaussian`), so that errors are those of
steps alone. Halving the steps divides the error of Euler's by 2, of Heun's by 4, and of
`Midpoint`, which is a bridge towards a mean looked at twice, by 8. Takes 4 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.couplings import Gaussian

SAMPLERS = {
    "Euler": (mb.ProbabilityFlow("euler"), 1),
    "Heun": (mb.ProbabilityFlow("heun"), 2),
    "Midpoint": (mb.Midpoint(), 3),
}


def flow():
    """The model: an exact law in place of a network."""
    process = mb.LinearDiffusion(mb.Brownian(0.0))
    coupling = mb.Independent(Gaussian(mean=-1.0, std=0.5))
    mean, variance = torch.tensor([2.0]).double(), torch.tensor([[2.25]]).double()
    law = exact.Gaussian.coupled(process, coupling, mean, variance)
    return mb.Transport(process, law, shape=(1,))


def exactly(x, t):
    """Where the flow leads x at time t."""
    t = torch.as_tensor(t, dtype=torch.float64)
    deviation = ((1 - t).square() / 4 + 2.25 * t.square()).sqrt()
    return 3 * t - 1 + (x + 1) * deviation / 0.5


def main(output=None, steps=(4, 8, 16, 32, 64)):
    model = flow()
    x = torch.tensor([[-1.7], [-1.0], [0.1]], dtype=torch.float64)
    errors, orders = {}, {}
    for name, (sampler, _) in SAMPLERS.items():
        ends = [model.translate(x, steps=n, sampler=sampler) for n in steps]
        errors[name] = [float((end - exactly(x, 1.0)).abs().max()) for end in ends]
        ratio = torch.tensor(errors[name][-2] / errors[name][-1])
        orders[name] = float(ratio.log2())
    print("largest error of three points; steps:", *(f"{n:9d}" for n in steps), "    order")
    for name, found in errors.items():
        print(f"{name:<37}", *(f"{e:9.2g}" for e in found), f"{orders[name]:9.2f}")
    if output is not None:
        draw(output, model, steps, errors, orders)
    return errors, orders


def draw(output, model, steps, errors, orders):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    start = torch.linspace(-2, 0, 7, dtype=torch.float64).unsqueeze(1)
    fine = torch.linspace(0, 1, 101, dtype=torch.float64)
    left.plot(fine, exactly(start.mT, fine.unsqueeze(1)), color="0.7", linewidth=3)
    for color, name in (("C0", "Euler"), ("C2", "Midpoint")):
        seen = []
        model.translate(
            start,
            steps=4,
            sampler=SAMPLERS[name][0],
            callback=lambda t, x, seen=seen: seen.append((t, x.clone())),
        )
        way = torch.stack([x[: len(start), 0] for _, x in seen])
        left.plot([t for t, _ in seen], way, "o-", color=color, markersize=3, linewidth=1)
        left.plot([], [], "o-", color=color, markersize=3, linewidth=1, label=f"{name}, 4 steps")
    left.plot([], [], color="0.7", linewidth=3, label="exactly")
    left.set(xlabel="t", ylabel="x")
    left.legend(fontsize=8)
    left.set_title("ways of seven points", fontsize=10)
    for color, name in zip(("C0", "C1", "C2"), SAMPLERS, strict=True):
        label = f"{name}: order {orders[name]:.1f}"
        right.loglog(steps, errors[name], "o-", color=color, label=label)
    right.set_xticks(steps, steps)
    right.minorticks_off()
    right.set(xlabel="steps", ylabel="largest error")
    right.set_title("error where they end", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="flow_steps.png")
    main(parser.parse_args().output)
