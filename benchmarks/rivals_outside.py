"""Methods of `rivals.py` in their own environment: `python rivals_outside.py METHOD FOLDER`.

**scVI** (Lopez et al. 2018, https://doi.org/10.1038/s41592-018-0229-2) with its defaults and early
stopping. It has a law of counts given a latent state z and the total of a row, so

- samples decode z of the prior and totals of training rows; beside them, rows decoded from what
  training rows were encoded to;
- lost counts are those of its law given what was kept, from which z is encoded (`lost_of`);
- hidden entries are 0 when z is encoded first, then what the model says of them, in `LOOKS` looks;
- nats are a bound by importance sampling of z from the encoder; the total of a row, which scVI is
  told, is integrated over a law of totals of training rows, so that the law is one of counts.

**MAGIC** (van Dijk et al. 2018, https://doi.org/10.1016/j.cell.2018.05.061) with its defaults:
roots of normalised counts of all rows, smoothed over a graph of neighbours, squared again.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np

from rivals_work import DRAWS, Task, from_shares, main

LOOKS = 3
MEANS = 25  # latent states that an expected count is averaged over
BLOCK = 500  # rows that are decoded at once
GRID = 64  # totals of the law of totals; those far from the total of a row are not looked at


class SCVI:
    """scVI, fitted to the training rows of a task."""

    def __init__(self, task: Task) -> None:
        import scvi
        import torch
        from anndata import AnnData
        from scipy.sparse import csr_matrix

        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        options = task.options
        torch.set_num_threads(options["threads"])
        scvi.settings.seed = options["seed"]
        some = task["train"].sum(1) > 0  # of nothing there is no logarithm
        self.task, self.x, classes = task, task["train"][some], task.classes("train")[some]
        self.names = np.unique(classes)
        table = AnnData(csr_matrix(self.x.astype(np.float32)))
        table.obs["class"] = classes.astype(str)
        scvi.model.SCVI.setup_anndata(table, batch_key="class" if task.classed else None)
        model = scvi.model.SCVI(table, gene_likelihood=options["scvi_likelihood"])
        plan = {} if options["scvi_epochs"] is None else {"max_epochs": options["scvi_epochs"]}
        model.train(
            accelerator="cpu", early_stopping=True, enable_progress_bar=False, logger=False, **plan
        )
        order = list(model.adata.obs["_scvi_batch"].to_numpy())
        self.code = {c: int(order[np.flatnonzero(classes == c)[0]]) for c in self.names}
        self.train = classes
        self.module, self.torch = model.module.eval(), torch

    def batch(self, classes):
        """The codes that scVI has given to classes, (n, 1)."""
        return self.torch.tensor([[self.code[c]] for c in classes])

    def encode(self, x, classes):
        """The law of z of each row."""
        rows = self.torch.as_tensor(np.asarray(x, np.float32))
        return self.module.inference(rows, self.batch(classes))["qz"]

    def decode(self, z, depth, classes):
        """The law of the counts of each row, at a depth (n,)."""
        library = self.torch.as_tensor(np.log(np.maximum(depth, 0.1)), dtype=z.dtype)
        return self.module.generative(z, library[:, None], self.batch(classes))["px"]

    def law(self, x, depth, classes, answer, draws=DRAWS):
        """Means (n, d) and draws (D, n, d) that `answer` makes of laws, z being encoded from x."""
        means, made = np.empty(x.shape), np.empty((draws, *x.shape), np.int32)
        for start in range(0, len(x), BLOCK):
            part, total = slice(start, start + BLOCK), 0
            qz = self.encode(x[part], classes[part])
            for k in range(max(draws, MEANS)):
                px = self.decode(qz.sample(), depth[part], classes[part])
                mean, one = answer(px, x[part])
                total = total + mean.double() if k < MEANS else total
                if k < draws:
                    made[k, part] = one().numpy()
            means[part] = (total / MEANS).numpy()
        return means, made

    def samples(self, classes, rng, encoded):
        """Rows of the classes: z of the prior, or of training rows."""
        torch, made = self.torch, []
        rows = np.array([rng.choice(np.flatnonzero(self.train == c)) for c in classes])
        for start in range(0, len(rows), BLOCK):
            x, some = self.x[rows[start : start + BLOCK]], classes[start : start + BLOCK]
            qz = self.encode(x, some)
            z = qz.sample() if encoded else torch.randn_like(qz.loc)
            made.append(self.decode(z, x.sum(1), some).sample().numpy())
        return np.concatenate(made).astype(np.int32)

    def impute(self):
        """Means and draws of rows with hidden entries, looked at several times."""
        task = self.task
        x, hidden, classes = task["test"], task["hidden_test"], task.classes("test")
        shown = np.where(hidden, 0, x).astype(float)
        average = self.x.mean(0)
        depth = shown.sum(1) * average.sum() / np.where(hidden, 0, average).sum(1)
        means, made = self.law(shown, depth, classes, fresh, draws=0)
        for look in range(1, LOOKS):
            shown = np.where(hidden, means, x)
            # The scale of a row is such that what is seen has the total that it has.
            seen = np.where(hidden, 0, means).sum(1)
            depth = depth * np.where(hidden, 0, x).sum(1) / np.maximum(seen, 1e-9)
            last = DRAWS if look == LOOKS - 1 else 0
            means, made = self.law(shown, depth, classes, fresh, draws=last)
        return means, made

    def nats(self, x, classes, looks):
        """-log p of rows, (n,): a bound above it, equal to it with many looks."""
        torch, found = self.torch, []
        for row, c in zip(x, classes, strict=True):
            totals = np.log(self.x[self.train == c].sum(1))
            grid = np.linspace(totals.min() - 0.5, totals.max() + 0.5, GRID)
            heights = np.bincount(np.abs(totals[:, None] - grid).argmin(1), minlength=GRID) + 0.1
            total = max(row.sum(), 0.5)
            near = np.flatnonzero(np.abs(grid - np.log(total)) < 1 + 2 / total**0.5)
            weight = torch.as_tensor(np.log(heights / heights.sum())[near])
            qz = self.encode(row[None], [c])
            z = qz.sample((looks,))[:, 0]  # (looks, latent)
            ratio = (torch.distributions.Normal(0, 1).log_prob(z) - qz.log_prob(z)).sum(1)
            codes = np.repeat([c], looks * len(near))
            px = self.decode(
                z.repeat_interleave(len(near), 0), np.tile(np.exp(grid[near]), looks), codes
            )
            counts = torch.as_tensor(np.asarray(row, np.float32))[None]
            nats = px.log_prob(counts).double().sum(1).reshape(looks, -1)
            log_p = (nats + weight).logsumexp(1) + ratio.double()
            found.append(float(np.log(looks) - log_p.logsumexp(0)))
        return np.array(found)


def fresh(px, x):
    """Counts of a law that nothing else is known of: their mean, and what draws them."""
    return px.mean, px.sample


def lost_of(px, x, survival):
    """Counts that thinning took, x being what it kept, of a law px: their mean, and what draws.

    Of a negative binomial of mean m and size r, x being seen, the rate is Gamma(r + x) of mean
    m (r + x)/(r + m). Where nothing was kept of a zero-inflated one, there may have been nothing.
    """
    import torch

    x, some, scale = torch.as_tensor(x), 1.0, px.mu / (px.theta + px.mu)
    if hasattr(px, "zi_probs"):
        zero = (1 - px.zi_probs) * (px.theta / (px.theta + px.mu)) ** px.theta
        some = torch.where(x > 0, 1.0, zero / (px.zi_probs + zero))
    shape, factor = px.theta + x, (1 - survival) / survival

    def draw():
        rate = torch.distributions.Gamma(shape, 1 / scale).sample() * factor
        return torch.poisson(rate) * (torch.rand_like(rate) < some)

    return factor * some * shape * scale, draw


def scvi(task: Task) -> dict[str, np.ndarray]:
    import scvi  # noqa: F401  before the clock runs

    with task.stage("fit"):
        model = SCVI(task)
    options, rng, classes = (
        task.options,
        np.random.default_rng(task.options["seed"]),
        task.wanted(),
    )
    found = {"sample_classes": classes}
    with model.torch.inference_mode():
        with task.stage("sample"):
            found["samples"] = model.samples(classes, rng, encoded=False)
        found["encoded"] = model.samples(classes, rng, encoded=True)
        kept, survival = task["kept_test"], options["survival"]
        with task.stage("restore"):
            found["lost"], found["lost_draws"] = model.law(
                kept, kept.sum(1), task.classes("test"), lambda px, x: lost_of(px, x, survival)
            )
        with task.stage("impute"):
            found["imputed"], found["imputed_draws"] = model.impute()
        rows = options["rows"]
        with task.stage("nats"):
            found["nats"] = model.nats(
                task["test"][:rows], task.classes("test")[:rows], options["looks"]
            )
    return found


def magic(task: Task) -> dict[str, np.ndarray]:
    from magic import MAGIC

    warnings.filterwarnings("ignore")
    found, train = {}, len(task["train"])
    for kind, stage in (("kept", "restore"), ("hidden", "impute")):
        with task.stage(stage):
            rows = np.concatenate([task["train"], task.query(kind)]).astype(float)
            total = np.maximum(rows.sum(1, keepdims=True), 1)
            smooth = MAGIC(
                n_pca=min(100, min(rows.shape) - 1),
                n_jobs=task.options["threads"],
                random_state=task.options["seed"],
                verbose=0,
            ).fit_transform(np.sqrt(rows / total * np.median(total)))
            found |= from_shares(np.asarray(smooth)[train:].clip(0) ** 2, task, kind)
    return found


METHODS = {"scVI": scvi, "MAGIC": magic}

if __name__ == "__main__":
    main(METHODS)
