"""How tight and how noisy likelihood bounds are, on laws whose entropy is known.

    python benchmarks/likelihood.py

draws points from laws of one count and from the two-pixel law of `sampler_error.py`, bounds
-log p(x) with the exact posterior, where the bound is tight, and compares: the difference per
point to -log p(x), averaged, in nats, and its standard error. Then it prints what K steps of
the Poisson leap lose. It fails if an average that should be 0 is off by more than 0.001 nats
and five standard errors.
"""

import sys
import time

import torch

from markovbridge import PureDeath, Transport, exact
from sampler_error import Posterior, data_law

POINTS, DRAWS, BLOCK = 2000, 2000, 2**15
PROCESS = PureDeath()
LAWS = {
    "Poisson(0.3)": (PROCESS, exact.Poisson(PROCESS, 0.3)),
    "Poisson(3)": (PROCESS, exact.Poisson(PROCESS, 3.0)),
    "NB(3, 2)": (PROCESS, exact.NegativeBinomial(PROCESS, 3.0, 2.0)),
    "Bernoulli(.3)": (PureDeath(1), exact.Binomial(PureDeath(1), 1, 0.3)),
    "Binomial(10, .4)": (PureDeath(10), exact.Binomial(PureDeath(10), 10, 0.4)),
    "ZIP(.6, 4)": (PROCESS, exact.ZeroInflatedPoisson(PROCESS, 0.6, 4.0)),
}


def row(name, transport, x, truth, **options):
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    bound = transport.log_likelihood(x, generator=generator, block=BLOCK, **options)
    off = float((truth - bound.nats).mean())
    error = float((bound.standard_error**2).sum().sqrt()) / len(x)
    seconds = time.perf_counter() - began
    print(f"{name:34} {float(-truth.mean()):9.4f} {off:+10.5f} {error:9.5f} {seconds:7.1f}")
    return abs(off) > 1e-3 and abs(off) > 5 * error


def main() -> int:
    torch.manual_seed(0)
    failed = 0
    print(f"{POINTS} points, {DRAWS} looks at each\n")
    print(f"{'law':34} {'-log p':>9} {'gap':>10} {'error':>9} {'seconds':>7}")
    for name, (process, law) in LAWS.items():
        like = torch.zeros((POINTS, 1), dtype=torch.int64)
        marginal = law.marginal(like, 1.0)
        x = marginal.sample(generator=torch.Generator().manual_seed(1))
        truth = marginal.log_prob(x).double()
        failed += row(name, Transport(process, law, shape=(1,)), x, truth, draws=DRAWS)

    law = data_law()
    process = PureDeath(maximum=31)
    posterior = exact.Empirical(process, Posterior(process, law).every, law.flatten())
    pick = torch.multinomial(law.flatten(), 200, replacement=True)
    x, truth = posterior.data[pick], law.flatten()[pick].log()
    failed += row("two pixels", Transport(process, posterior, shape=(2,)), x, truth, draws=100)

    print("\nsteps of the Poisson leap, NB(3, 2)")
    process, law = LAWS["NB(3, 2)"]
    transport = Transport(process, exact.MeanOnly(law, "poisson"), shape=(1,))
    marginal = law.marginal(torch.zeros((POINTS, 1), dtype=torch.int64), 1.0)
    x = marginal.sample(generator=torch.Generator().manual_seed(1))
    for steps in (5, 10, 50, 250):
        row(f"  {steps} steps", transport, x, marginal.log_prob(x), steps=steps, draws=DRAWS)
    return failed


if __name__ == "__main__":
    sys.exit(main())
