"""A chain of your own: a nucleotide substitution model on short sequences.

    python examples/nucleotides.py [--output nucleotides.png]

The rate matrix is that of Hasegawa, Kishino and Yano (1985, HKY85): substitutions between
A and G and between C and T (transitions) are κ times as frequent as the others, and the
stationary law is the genome's base composition. Noise is then evolution, and the generative
model runs it backwards. The sequences are a binding motif with its consensus at most sites;
their law is known, so the likelihood a model reaches can be compared with the best possible.
Takes 13 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge.networks import MLP

BASES = "ACGT"


def substitution(composition=(0.3, 0.2, 0.2, 0.3), kappa=4.0):
    """Rate matrix of HKY85 in the order A, C, G, T, one substitution per unit of time."""
    law = torch.tensor(composition, dtype=torch.float64)
    rates = law.expand(4, 4).clone()
    for a, b in ("AG", "GA", "CT", "TC"):
        rates[BASES.index(a), BASES.index(b)] *= kappa
    rates.fill_diagonal_(0.0)
    rates -= torch.diag(rates.sum(1))
    return rates / -(law @ rates.diagonal())


def sequences(n, generator):
    """A motif TATAAT, of which each base is kept with 90 %; the second half follows the first.

    Returns:
        (n, 6) bases, and the entropy of their law in nats.
    """
    motif = torch.tensor([BASES.index(base) for base in "TATAAT"])
    kept = torch.rand(n, 6, generator=generator) < 0.9
    other = (motif + torch.randint(1, 4, (n, 6), generator=generator)) % 4
    flip = torch.rand(n, 1, generator=generator) < 0.5  # half of the sites read the other strand
    strand = torch.where(flip, 3 - motif, motif)
    other = torch.where(flip, 3 - other, other)
    keep, lose = torch.tensor(0.9), torch.tensor(0.1)
    each = -(keep * keep.log() + lose * (lose / 3).log())
    return torch.where(kept, strand, other), 6 * float(each) + float(torch.tensor(2.0).log())


def main(output=None, steps=500):
    generator = torch.manual_seed(0)
    data, entropy = sequences(4096, generator)

    # The ten lines: your rate matrix, a network, a loss, samples, a likelihood.
    process = mb.FiniteChain(substitution())
    network = MLP((6,), process.features, process.states, width=64, depth=2)
    model = mb.Transport(
        process, network, mb.CategoricalHead(), shape=(6,), objective=mb.PathKL() + mb.EndNLL()
    )
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (64,), generator=generator)]
        optimiser.zero_grad()
        model.loss(batch, generator=generator).mean().backward()
        optimiser.step()
    model.eval()
    samples = model.sample(2000, steps=20, block=2000, generator=generator)
    held_out, _ = sequences(128, generator)
    nats, error = model.log_likelihood(held_out, generator=generator).average()

    words = ["".join(BASES[base] for base in row) for row in samples[:8].tolist()]
    print("samples:", *words)
    print(f"log-likelihood bound {nats:.3f} ± {error:.3f} nats; no model beats {-entropy:.3f}")
    if output is not None:
        times = torch.linspace(0, 1, 9).tolist()
        path = model.frames(4, times, generator=generator)
        draw(output, data, samples, times, path, (nats, entropy))
    return nats, error, entropy, samples


def draw(output, data, samples, times, path, bound):
    import matplotlib.pyplot as plt

    colors = ("C2", "C0", "C1", "C3")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 3.4), width_ratios=(1.3, 1), layout="constrained"
    )
    for row, words in enumerate(path.tolist()):
        for column, word in enumerate(words):
            for site, base in enumerate(word):
                place = 7 * column + site
                left.text(place, -row, BASES[base], color=colors[base], ha="center", fontsize=8)
    left.set(xlim=(-1, 7 * path.shape[1]), ylim=(0.6 - len(times), 0.6))
    left.set_yticks([-k for k in range(len(times))], [f"t = {t:.2f}" for t in times], fontsize=8)
    left.set_xticks([])
    left.set_title("evolution run backwards: four sequences", fontsize=10)
    for site in range(6):
        for base in range(4):
            shares = [float((x[:, site] == base).double().mean()) for x in (data, samples)]
            right.plot(*shares, "o", color=colors[base])
    right.plot([0, 0.6], [0, 0.6], "k:", linewidth=1)
    for base in range(4):
        right.plot([], [], "o", color=colors[base], label=BASES[base])
    right.legend(fontsize=8)
    right.set(xlabel="share of a base at a site, data", ylabel="samples", aspect="equal")
    right.set_title(f"bound {bound[0]:.2f} nats, best {-bound[1]:.2f}", fontsize=10)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="nucleotides.png")
    main(parser.parse_args().output)
