"""Checks for parts of one's own: does a process keep its promises? A head, a coupling, a sampler?

Each check compares what an object says with what else it says, in the ways in which the package
relies on it: a bridge with the transitions by Bayes' rule, rates with short bridges, draws with
probabilities. It returns a `CheckReport`, which prints as a table, or raises `CheckError` with a
sentence. Nothing here needs a test runner.

    >>> import torch, markovbridge as mb
    >>> from markovbridge.testing import check_process
    >>> report = check_process(mb.PureDeath(maximum=4), torch.randint(0, 5, (8, 3)))
    >>> "Chapman-Kolmogorov" in report.checked  # print(report) shows all of them
    True
"""

from markovbridge.testing.couplings import check_coupling
from markovbridge.testing.covariances import check_covariance
from markovbridge.testing.heads import check_head
from markovbridge.testing.processes import check_process
from markovbridge.testing.report import CheckError, CheckReport, Finding
from markovbridge.testing.samplers import check_sampler

__all__ = [
    "CheckError",
    "Finding",
    "CheckReport",
    "check_coupling",
    "check_covariance",
    "check_head",
    "check_process",
    "check_sampler",
]
