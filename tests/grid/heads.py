"""For every class of head, what a perfect network with it says of a world."""

import numpy as np
import torch

import markovbridge as mb
from grid.worlds import CONDITIONS, mean_raws, table_raws, through, two_means
from markovbridge import heads, laws
from markovbridge.processes import Setting


def _needs(head):
    def law(make):
        def made(world):
            head.outputs(world.process)  # refuses what it is not for
            return make

        return made

    return law


def _logistic(world):
    """Independent sites whose values have the law that a head with zero output states."""
    head = heads.LogisticMixtureHead(2)
    head.outputs(world.process)
    zeros = torch.zeros(1, 6, 1)
    x, t = torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0.5]).double()
    setting = Setting(world.process, mb.Noised(), torch.tensor([1.0]), torch.tensor([0.7]))
    law = head(setting, zeros, x, t)
    table = law.table() if isinstance(law, laws.LogisticMixture) else law
    log = table.logits[0, 0].double()
    if not isinstance(law, laws.LogisticMixture):
        log = log - world.process.evidence(x, t)[0, 0].double()
    site = log.softmax(-1).numpy()
    tables = [site] * world.sites
    world.tables = [np.prod(np.meshgrid(*tables, indexing="ij"), 0)] * CONDITIONS

    def through_head(world, atoms, x, t):
        t = torch.as_tensor(t).expand(len(x))
        return head(setting, torch.zeros(len(x), 6, world.sites), x, t)

    return through_head


def _centred(world, atoms, x, t):
    return torch.cat([mean_raws(world, atoms, x, t), table_raws(world, atoms, x, t).float()], 1)


def _overdispersed(world, atoms, x, t):
    mean = mean_raws(world, atoms, x, t)
    return torch.cat([mean, torch.full_like(mean, 2.0)], 1)


# For every class of head: what a perfect network with it says, given a world. "joint" is none.
LAWS = {
    "joint": lambda world: lambda world, atoms, x, t: atoms,
    heads.CategoricalHead: _needs(heads.CategoricalHead())(
        through(heads.CategoricalHead(), table_raws)
    ),
    heads.MeanHead: _needs(heads.MeanHead())(through(heads.MeanHead(), mean_raws)),
    heads.NegativeBinomialHead: _needs(heads.NegativeBinomialHead())(
        through(heads.NegativeBinomialHead(), _overdispersed)
    ),
    heads.CentredHead: _needs(heads.CentredHead())(through(heads.CentredHead(), _centred)),
    heads.LogisticMixtureHead: _logistic,
    heads.JointHead: None,  # whose law is that of another head, and its ends what a network makes
    heads.TwoMeansHead: _needs(heads.TwoMeansHead())(two_means),
    heads.EndpointHead: None,  # of diffusions, below
    heads.GammaHead: None,  # of amounts, which have no head that says all of an exact law
}
MORE_LAWS = {
    "Mean, rounded": _needs(heads.MeanHead("stochastic"))(
        through(heads.MeanHead("stochastic"), mean_raws)
    )
}
# Under pure death the table of a logistic mixture is that of no data, as it is cut off at x_t:
# its law is the limit of ever shorter steps. Nothing is known of it given sites, and a
# corrector, which leaves laws of data alone, changes it.
OWN_LIMIT = {
    (mb.PureDeath, heads.LogisticMixtureHead): ("plain", "inner", "guided", "conditioned")
}
