"""The grid of pairs: every sampler with every process, law and way to draw.

`python tests/grid_pairs.py` prints how many pairs there are and how many the library refuses.
Classes are found by looking into the package. One without a recipe here is an error.
"""

import importlib
import inspect
import pkgutil
import sys
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy import stats

import grid_worlds as worlds
import markovbridge as mb
from grid_worlds import VALUES, Perfect, World, through
from markovbridge import exact, heads, laws, processes, samplers

N = 20_000
FEW = 1_500  # of samplers that cost an evaluation for each jump
LEVEL = 1e-5  # of every statistical test
ALLOWED = 0.015  # total variation of samplers that are right in the limit of many steps
SHIFT = 0.03  # of means, and of covariances, in standard deviations, likewise
SIZE = 0.05  # of corrector moves: about as long as the steps, as their errors add to those
INNER = 0.5  # a time to start from
MODES = ("plain", "inner", "told", "guided", "conditioned", "corrected", "corrected inner")

# For every class of sampler: how it is made, and its number of steps, less where the joint law
# makes it exact at any number of steps.
SAMPLERS = {
    mb.Bridge: (lambda: mb.Bridge(), 64, 3),
    samplers.Adaptive: (lambda: samplers.Adaptive(5e-3), 1, 1),
    mb.EulerMaruyama: (lambda: mb.EulerMaruyama(), 256, 256),
    mb.Midpoint: (lambda: mb.Midpoint(), 24, 24),
    mb.ProbabilityFlow: (lambda: mb.ProbabilityFlow(), 48, 48),
    mb.Gillespie: (lambda: mb.Gillespie(), 1, 1),
    mb.TauLeaping: (lambda: mb.TauLeaping(), 128, 128),
    samplers.SecondOrderBridge: (lambda: samplers.SecondOrderBridge(), 16, 16),
    mb.Trapezoidal: (lambda: mb.Trapezoidal(), 32, 32),
    # Around each of the others, as modes of their own.
    mb.Corrected: None,
}
STEPWISE = (mb.Gillespie,)


def _needs(head):
    def law(make):
        def made(world):
            head.outputs(world.process)  # refuses what it is not for
            return make

        return made

    return law


def _logistic(world):
    """Independent sites whose values have the law that a head with zero output states."""
    head = heads.LogisticMixture(2)
    head.outputs(world.process)
    zeros = torch.zeros(1, 6, 1)
    x, t = torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0.5]).double()
    about = (torch.tensor([1.0]), torch.tensor([0.7]))
    law = head(world.process, zeros, x, t, *about)
    table = law.table() if isinstance(law, laws.LogisticMixture) else law
    log = table.logits[0, 0].double()
    if not isinstance(law, laws.LogisticMixture):
        log = log - world.process.evidence(x, t)[0, 0].double()
    site = log.softmax(-1).numpy()
    tables = [site] * world.sites
    world.tables = [np.prod(np.meshgrid(*tables, indexing="ij"), 0)] * worlds.CONDITIONS

    def through_head(world, atoms, x, t):
        t = torch.as_tensor(t).expand(len(x))
        return head(world.process, torch.zeros(len(x), 6, world.sites), x, t, *about)

    return through_head


def _centred(world, atoms, x, t):
    return torch.cat(
        [worlds.mean_raws(world, atoms, x, t), worlds.table_raws(world, atoms, x, t).float()], 1
    )


def _overdispersed(world, atoms, x, t):
    mean = worlds.mean_raws(world, atoms, x, t)
    return torch.cat([mean, torch.full_like(mean, 2.0)], 1)


# For every class of head: what a perfect network with it says, given a world. "joint" is none.
LAWS = {
    "joint": lambda world: lambda world, atoms, x, t: atoms,
    heads.Categorical: _needs(heads.Categorical())(
        through(heads.Categorical(), worlds.table_raws)
    ),
    heads.Mean: _needs(heads.Mean())(through(heads.Mean(), worlds.mean_raws)),
    heads.NegativeBinomial: _needs(heads.NegativeBinomial())(
        through(heads.NegativeBinomial(), _overdispersed)
    ),
    heads.Centred: _needs(heads.Centred())(through(heads.Centred(), _centred)),
    heads.LogisticMixture: _logistic,
    heads.TwoMeans: _needs(heads.TwoMeans())(worlds.two_means),
    heads.Endpoint: None,  # of diffusions, below
}
MORE_LAWS = {
    "Mean, rounded": _needs(heads.Mean("stochastic"))(
        through(heads.Mean("stochastic"), worlds.mean_raws)
    )
}
# Under pure death the table of a logistic mixture is that of no data, as it is cut off at x_t.
OWN_LIMIT = {(mb.PureDeath, heads.LogisticMixture)}


def concrete(base):
    """All public classes of the package below one, found by importing all of it."""
    for module in pkgutil.walk_packages(mb.__path__, "markovbridge."):
        if module.name.split(".")[1] in ("samplers", "processes", "heads"):
            importlib.import_module(module.name)
    found, left = [], [base]
    while left:
        for one in left.pop().__subclasses__():
            left.append(one)
            if one.__module__.startswith("markovbridge.") and one not in found:
                found.append(one)
    return [one for one in found if not inspect.isabstract(one) and one.__name__[0] != "_"]


def missing():
    """A sentence for each class without a recipe."""
    recipes = {
        samplers.Sampler: ("SAMPLERS in tests/grid_pairs.py", SAMPLERS),
        processes.Process: (
            "INTEGERS in tests/grid_worlds.py",
            {**worlds.INTEGERS, mb.LinearDiffusion: DIFFUSIONS},
        ),
        processes.LinearSDE: ("DIFFUSIONS in tests/grid_pairs.py", DIFFUSIONS),
        heads.base.Head: ("LAWS in tests/grid_pairs.py", LAWS),
    }
    return [
        f"add an instance of {one.__name__} to {where}: every sampler is tested with every "
        "process and law"
        for base, (where, known) in recipes.items()
        for one in concrete(base)
        if one not in known
    ]


@dataclass(frozen=True)
class Pair:
    """One pair: how it is named, and how it is drawn and judged."""

    sampler: type
    process: str
    law: str
    mode: str
    run: object = field(compare=False, repr=False)

    def __str__(self):
        return f"{self.sampler.__name__} x {self.process} x {self.law} x {self.mode}"


def outcome(pair):
    """None if a pair's law is right, what the library says if it refuses, an error otherwise.

    Raises:
        AssertionError: If the law is wrong.
        Exception: If it ends in words that are not the library's.
    """
    torch.manual_seed(0)
    try:
        pair.run()
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        own = "markovbridge" in Path(last.filename).parts and "raise" in (last.line or "")
        if not own:
            raise
        return str(error)
    return None


def _close(found, wanted, n, allowed):
    """Total variation between draws and a law, or a chi-square test if nothing is allowed."""
    outside = n - found.sum()
    if allowed == 0:
        assert outside == 0, f"{outside} draws are outside of the data"
        keep = wanted > 0
        assert found[~keep].sum() == 0, "drew what cannot be"
        order = np.argsort(wanted[keep])
        f, e = found[keep][order], wanted[keep][order] * n
        while len(e) > 1 and e[0] < 5:
            f, e = np.r_[f[0] + f[1], f[2:]], np.r_[e[0] + e[1], e[2:]]
        if len(e) > 1:
            p_value = stats.chisquare(f, e * f.sum() / e.sum()).pvalue
            assert p_value > LEVEL, f"chi-square p-value {p_value:.1e}"
        return
    variation = 0.5 * (np.abs(found / n - wanted).sum() + outside / n)
    # The mean, and by McDiarmid's inequality the level, of what n draws of the law would have.
    noise = 0.5 * np.sqrt(wanted * (1 - wanted) / n).sum() + np.sqrt(-np.log(LEVEL) / (2 * n))
    assert variation < noise + allowed, (
        f"total variation {variation:.4f}, of which {noise:.4f} may be chance and "
        f"{allowed} the steps"
    )


def _seed(*names):
    return torch.Generator().manual_seed(zlib.crc32(" ".join(map(str, names)).encode()))


def _on_integers(sampler_class, process, low, states, kind, make_law, mode):
    """Draw one pair on integers, and judge it."""
    make, many, few = SAMPLERS[sampler_class]
    world = World(process, low, states, sites=3 if mode == "told" else 2)
    head = make_law(world)
    sampler = make()
    joint, jumps = kind == "joint", isinstance(process, processes.JumpProcess)
    steps = few if joint else many
    corrected = mode.startswith("corrected")
    if corrected:
        # Under one-by-one jumps every move costs as much as a step.
        sampler, steps = mb.Corrected(sampler, moves=1, size=SIZE), max(steps, 2)
    inner = mode in ("inner", "guided", "corrected inner")
    if not jumps and steps > few:
        steps = worlds.CHAIN_STEPS // (2 if inner else 1)
    n = FEW if sampler_class in STEPWISE else N
    generator = _seed(sampler_class.__name__, process, kind, mode)
    network = Perfect(world, head)
    model = mb.Transport(
        process, network, shape=(world.sites,), masking=mb.Masking() if mode == "told" else None
    )
    options = {"steps": steps, "sampler": sampler, "generator": generator, "block": n}
    label = 1 if mode in ("guided", "conditioned") else None
    if label is not None:
        options["condition"] = torch.full((n, 1), float(label))
    own = (type(process), kind) in OWN_LIMIT
    seen = [1] * world.sites
    if inner:
        if mode == "guided":
            options["guidance"] = 1.5
        x = model.restore(torch.tensor([seen]).expand(n, -1), INNER, **options)
        wanted = world.posterior(seen, INNER, label)
    elif mode == "told":
        known = torch.tensor([[False, True, False]])
        x = model.impute(torch.full((n, 3), 2), known, **options)
        wanted = world.given({1: 2})
    elif process.__class__.__name__ in ("RandomWalk", "PureBirth"):
        # Their source is a stated approximation: start from the law the data really have at 0.
        data = world.data(n, generator, label)
        x = model.translate(process.noised(data).sample(generator=generator), **options)
        wanted = world.table(label)
    else:
        x = model.sample(n, **options)
        wanted = world.table(label)
    allowed = 0.0 if sampler_class in STEPWISE or (joint and steps == few) else ALLOWED
    if sampler_class in (mb.TauLeaping, mb.Trapezoidal, samplers.Adaptive):
        allowed = ALLOWED
    if mode == "guided" or own:
        if not inner:
            return  # the limit is known from a state, which the other modes start from
        if not jumps:
            return
        options = {"guidance": 1.5} if mode == "guided" else {}

        def law(every, t):
            condition = None if label is None else torch.full((len(every), 1), float(label))
            return model.law(every, t, condition, **options)

        whole = worlds.limit(world, law, seen, INNER)
        wanted, low, top = whole, world.low, world.low + world.states
    else:
        low, top = 0, VALUES
    inside = ((x >= low) & (x < top)).all(1)
    cells = np.zeros([top - low] * world.sites)
    np.add.at(cells, tuple((x[inside] - low).numpy().T), 1)
    _close(cells.flatten(), np.asarray(wanted).flatten(), len(x), allowed)


# For every class of SDE: a process, and the coupling that goes with it.
DIFFUSIONS = {
    processes.Brownian: lambda: (mb.LinearDiffusion(mb.Brownian(0.8)), mb.Independent()),
    processes.OrnsteinUhlenbeck: lambda: (
        mb.LinearDiffusion(mb.OrnsteinUhlenbeck(-0.7, 1.0)),
        mb.Dirac(0.3),
    ),
    processes.VP: lambda: (mb.LinearDiffusion(mb.VP(), direction="noising"), mb.Noised()),
    processes.VE: lambda: (
        mb.LinearDiffusion(mb.VE(0.05, 3.0), direction="noising"),
        mb.Noised(),
    ),
    processes.SubVP: lambda: (mb.LinearDiffusion(mb.SubVP(), direction="noising"), mb.Noised()),
    processes.Coefficients: lambda: (
        mb.LinearDiffusion(mb.Coefficients(lambda r: -0.5 - r, lambda r: 1 + 0.5 * r)),
        mb.Independent(),
    ),
}
MEANS = torch.tensor([[0.5, -0.3, 0.2], [-0.4, 0.6, 0.0]]).double()
COVARIANCE = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.2, 0.4]]).double()


class Normal:
    """What a perfect network says of Gaussian data, jointly or by its mean."""

    def __init__(self, process, coupling, sites, mean_only):
        self.process, self.coupling_, self.sites = process, coupling, sites
        self.mean_only, self.kept = mean_only, {}

    def law(self, label, known):
        if (label, known) not in self.kept:
            mean, spread = self.moments(label, known)
            self.kept[label, known] = exact.Gaussian.coupled(
                self.process, self.coupling_, mean, spread
            )
        return self.kept[label, known]

    def moments(self, label, known=()):
        mean = MEANS.mean(0) if label is None else MEANS[label]
        return condition(mean[: self.sites], COVARIANCE[: self.sites, : self.sites], known)

    def __call__(self, x, t, condition=None, observed=None):
        label = None
        if condition is not None and not bool(condition.isnan().any()):
            label = int(condition[0, 0])
        known = ()
        if observed is not None and bool(observed.mask.any()):
            where = observed.mask[0].nonzero().flatten().tolist()
            known = tuple((site, float(observed.values[0, site])) for site in where)
        law = self.law(label, known)(x, t)
        if not self.mean_only:
            return law
        head = heads.Endpoint(coupling=self.coupling_)
        return head.around(self.process, law.mean.to(x.dtype), t)


def condition(mean, spread, known):
    """A Gaussian given some of its sites: mean and covariance, zero where it is known."""
    mean, spread = mean.clone(), spread.clone()
    for site, value in known:
        gain = spread[:, site] / spread[site, site]
        mean = mean + gain * (value - mean[site])
        spread = spread - torch.outer(gain, spread[site])
        spread[site], spread[:, site] = 0, 0
    return mean, (spread + spread.mT) / 2


def _on_reals(sampler_class, sde, kind, mode):
    """Draw one pair on reals, and judge it."""
    process, coupling = DIFFUSIONS[sde]()
    make, many, few = SAMPLERS[sampler_class]
    sampler, steps = make(), few if kind == "joint" else many
    if mode.startswith("corrected"):
        sampler, steps = mb.Corrected(sampler, moves=1, size=SIZE), max(steps, 2)
    sites = 3 if mode == "told" else 2
    network = Normal(process, coupling, sites, kind != "joint")
    model = mb.Transport(
        process,
        network,
        shape=(sites,),
        coupling=coupling,
        masking=mb.Masking() if mode == "told" else None,
    )
    generator = _seed(sampler_class.__name__, sde.__name__, kind, mode)
    n, label = N // 4, 1 if mode in ("guided", "conditioned") else None
    options = {"steps": steps, "sampler": sampler, "generator": generator, "block": n}
    if label is not None:
        options["condition"] = torch.full((n, 1), float(label))
    mean, spread = network.moments(label)
    root = torch.linalg.cholesky(spread)

    def data(mean):
        noise = torch.randn(n, sites, generator=generator, dtype=torch.float64)
        return (mean + noise @ root.mT).float()

    if mode in ("inner", "corrected inner"):
        seen = torch.tensor([[0.4, -0.2]])
        x = model.restore(seen.expand(n, -1), INNER, **options)
        law = network.law(label, ())(seen, INNER)
        mean, spread = law.loc[0].double(), law.matrices[0]
    elif mode == "told":
        known = ((1, 0.7),)
        x = torch.full((n, 3), 0.7)
        x = model.impute(x, torch.tensor([[False, True, False]]), **options)
        assert bool((x[:, 1] == 0.7).all())
        mean, spread = network.moments(label, known)
    else:
        if mode == "guided":
            # Equal covariances: what is between the scores is the score at the mean between.
            options["guidance"] = 1.5
            mean = 1.5 * mean - 0.5 * MEANS.mean(0)[:sites]
        if isinstance(coupling, mb.Noised):
            start = coupling.pair(process, data(mean), generator=generator)
            x = model.translate(start, **options)
        else:
            x = model.sample(n, **options)
    allowed = 0.0 if kind == "joint" and sampler_class is mb.Bridge else SHIFT
    sites = spread.diagonal() > 1e-12
    x, mean, spread = x[:, sites].double(), mean[sites], spread[sites][:, sites]
    # White if the law is right: means, variances and correlations of the white coordinates.
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(spread), (x - mean).mT, upper=False
    )
    far = stats.norm.isf(LEVEL / 2) / np.sqrt(n)
    moments = white @ white.mT / n - torch.eye(len(white))
    assert float(white.mean(1).abs().max()) < far + allowed, white.mean(1)
    assert float(moments.abs().max()) < np.sqrt(2) * far + 2 * allowed, moments
    for row in white:
        statistic = stats.kstest(row.numpy(), "norm").statistic
        assert statistic < np.sqrt(-np.log(LEVEL / 2) / (2 * n)) + allowed, statistic


def pairs():
    """All of them."""
    found = []
    kinds = {**LAWS, **MORE_LAWS}
    for sampler in SAMPLERS:
        if sampler is mb.Corrected:
            continue
        for instances in worlds.INTEGERS.values():
            for process, low, states in instances():
                for kind, make_law in kinds.items():
                    for mode in MODES:
                        if make_law is None:
                            continue
                        found.append(
                            Pair(
                                sampler,
                                _short(process),
                                kind if isinstance(kind, str) else kind.__name__,
                                mode,
                                _bind(
                                    _on_integers,
                                    sampler,
                                    process,
                                    low,
                                    states,
                                    kind,
                                    make_law,
                                    mode,
                                ),
                            )
                        )
        for sde in DIFFUSIONS:
            for kind in ("joint", "Endpoint"):
                found += [
                    Pair(
                        sampler,
                        sde.__name__,
                        kind,
                        mode,
                        _bind(_on_reals, sampler, sde, kind, mode),
                    )
                    for mode in MODES
                ]
    return found


def _bind(function, *arguments):
    return lambda: function(*arguments)


def _short(process):
    bounded = "" if process.states is not None else ", unbounded"
    mask = ", mask of its own" if getattr(process, "mask", 0) is None else ""
    return type(process).__name__ + bounded + mask


def main():
    import time

    every, began, only = pairs(), time.perf_counter(), sys.argv[1:]
    counts, refusals, wrong, spent = Counter(), Counter(), [], Counter()
    for pair in every:
        if only and not all(word in str(pair) for word in only):
            continue
        start = time.process_time()
        try:
            said = outcome(pair)
            counts["refused" if said else "right"] += 1
            if said:
                refusals[said[:90]] += 1
        except Exception as error:
            counts["wrong"] += 1
            wrong.append(f"{pair}: {type(error).__name__}: {error}")
            print(wrong[-1][:250], flush=True)
        spent[pair.sampler.__name__, pair.process] += time.process_time() - start
    print(f"{sum(counts.values())} pairs: {dict(counts)}, {time.perf_counter() - began:.0f} s")
    for sentence, number in refusals.most_common(30):
        print(f"{number:6} refused: {sentence}")
    for name, seconds in spent.most_common(12):
        print(f"{seconds:8.1f} s CPU {name}")
    for sentence in missing():
        print(sentence)
    return int(bool(wrong) or bool(missing()))


if __name__ == "__main__":
    sys.exit(main())
