"""Methods of `rivals.py` that run beside markovbridge: `python rivals_ours.py METHOD FOLDER`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import rivals_alra
from markovbridge import CountModel
from markovbridge.evaluation.metrics import best_pseudocount, scale_depth
from markovbridge.exact import CountMixture
from rivals_work import DRAWS, Task, from_shares, main


def count_model(task: Task) -> dict[str, np.ndarray]:
    options, told = task.options, {}

    def given(part):
        return {"class": task.classes(part).astype(str)} if task.classed else None

    with task.stage("fit"):
        model = _saved(options.get("model"))
        if model is None:
            steps, width = options["steps"], options["width"]
            model = CountModel(
                steps=steps, width=width, random_state=options["seed"], threads=options["threads"]
            ).fit(task["train"], covariates=given("train"))
            if options.get("model"):
                model.save(options["model"])
    classes = task.wanted()
    if task.classed:
        told = {"covariates": {"class": classes.astype(str)}}
    found = {"sample_classes": classes}
    with task.stage("sample"):
        found["samples"] = model.sample(len(classes), **told)
    told = {} if given("test") is None else {"covariates": given("test")}
    kept = task["kept_test"]
    with task.stage("restore"):
        restored = model.restore(kept, options["survival"], draws=DRAWS, **told)
    found["lost"] = restored.expected.double().numpy() - kept
    found["lost_draws"] = restored.draws - kept
    with task.stage("impute"):
        imputed = model.impute(task["test"], ~task["hidden_test"], draws=DRAWS, **told)
    found["imputed_draws"] = imputed.draws
    if not torch.equal(imputed.expected, imputed.restoration.mean):  # more than the draws say
        found["imputed"] = imputed.expected.double().numpy()
    rows = options["rows"]
    told = {"covariates": {"class": given("test")["class"][:rows]}} if task.classed else {}
    with task.stage("nats"):
        found["nats"] = -model.score_samples(task["test"][:rows], draws=options["looks"], **told)
    return found


def _saved(folder: str | None) -> CountModel | None:
    try:
        return CountModel.load(folder) if folder else None
    except FileNotFoundError:
        return None


def fit_one(train: Tensor, validation: Tensor) -> CountMixture:
    """A negative binomial per feature, with size factors."""
    return CountMixture.fit(train)


def fit_mixture(train: Tensor, validation: Tensor) -> CountMixture:
    """Negative binomials around several profiles, their number chosen on validation rows."""
    if not len(validation):
        return CountMixture.fit(train)
    return CountMixture.choose(train, validation)


def draw(model: CountMixture, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the mixture, (count, d)."""
    weights = model.log_weights.exp()
    which = rng.choice(weights.numel(), count, p=weights.flatten().numpy())
    depth, profile = which // model.components, which % model.components
    means = model.depths.numpy()[depth, None] * model.profiles.numpy()[profile]
    sizes = model.sizes.numpy()
    return rng.poisson(rng.gamma(sizes, means / sizes))


def closed_form(
    fit: Callable[[Tensor, Tensor], CountMixture], task: Task
) -> dict[str, np.ndarray]:
    """Answers of negative binomials: one model for each class."""
    tables = {name: torch.from_numpy(value) for name, value in task.tables.items()}
    classes = {part: task.classes(part) for part in ("train", "validation", "test")}
    with task.stage("fit"):
        models = {
            c: fit(*(tables[part].long()[classes[part] == c] for part in ("train", "validation")))
            for c in np.unique(classes["train"])
        }

    def of_classes(ask, *rows):
        answer = [torch.empty(0)] * len(rows[0])
        for c, model in models.items():
            (where,) = np.nonzero(classes["test"][: len(rows[0])] == c)
            if len(where):
                for place, value in zip(where, ask(model, *(r[where] for r in rows)), strict=True):
                    answer[place] = value
        return torch.stack(answer).numpy()

    rng, wanted = np.random.default_rng(task.options["seed"]), task.wanted()
    survival, test = task.options["survival"], tables["test"].long()
    samples = np.empty((len(wanted), test.shape[1]), np.int64)
    found = {"samples": samples, "sample_classes": wanted}
    with task.stage("sample"):
        for c, model in models.items():
            samples[wanted == c] = draw(model, int((wanted == c).sum()), rng)
    with task.stage("restore"):
        kept = tables["kept_test"].long()
        found["lost"] = of_classes(lambda model, x: model.lost(x, survival), kept)
    with task.stage("impute"):
        found["imputed"] = of_classes(
            lambda model, x, hidden: model.impute(x, hidden), test, tables["hidden_test"]
        )
    with task.stage("nats"):
        rows = test[: task.options["rows"]]
        found["nats"] = -of_classes(lambda model, x: model.log_prob(x), rows)
    return found


def scaling(task: Task) -> dict[str, np.ndarray]:
    """Size factors alone: lost counts are like those kept, hidden ones like the average row."""
    survival, kept = task.options["survival"], torch.from_numpy(task["kept_validation"])
    lost = torch.from_numpy(task["validation"]) - kept
    with task.stage("restore"):
        pseudocount = best_pseudocount(kept, lost, survival)
        guess = scale_depth(
            torch.from_numpy(task["kept_test"]), survival, pseudocount=pseudocount
        ).numpy()
    with task.stage("impute"):
        average = np.tile(task["train"].mean(0) + 1e-9, (len(kept) + len(task["test"]), 1))
        imputed = from_shares(average, task, "hidden")["imputed"]
    return {"lost": guess, "imputed": imputed}


def alra(task: Task) -> dict[str, np.ndarray]:
    found, train = {}, len(task["train"])
    for kind, stage in (("kept", "restore"), ("hidden", "impute")):
        with task.stage(stage):
            rows = np.concatenate([task["train"], task.query(kind)])
            shares = rivals_alra.shares(rows, task.options["seed"])[train:]
            found |= from_shares(shares, task, kind)
    return found


METHODS = {
    "CountModel": count_model,
    "negative-binomials": lambda task: closed_form(fit_one, task),
    "mixture": lambda task: closed_form(fit_mixture, task),
    "scaling": scaling,
    "ALRA": alra,
}

if __name__ == "__main__":
    main(METHODS)
