"""Samples of a wide table, most of whose counts are 0, without ever holding all of them dense."""

from __future__ import annotations

from typing import Any

import torch
from scipy import sparse

from markovbridge import doors
from markovbridge.data.sparse import SparseRows
from markovbridge.doors import checks, randomness
from markovbridge.samplers.extrapolation import far_out, narrow, tell
from markovbridge.samplers.walks import blocks, check_rows
from markovbridge.transport import BLOCK
from markovbridge.transport.draws import Sampling


def sparsely(
    transport: Sampling, n: int, *, generator: torch.Generator | None = None, **options: Any
) -> sparse.csr_matrix:
    """The samples that `transport.sample` draws, each block kept by its nonzero counts.

    Args:
        transport: A model of counts (features,).
        n: How many.
        generator: Where the key of these samples is drawn from; fresh if None.
        **options: As of `Sampling.sample`.

    Returns:
        (n, features), int64.

    Warns:
        UserWarning: As `Sampling.sample` does.
    """
    checks.whole(n, "n", least=1)
    check_rows(options.get("condition"), n)
    key, block = randomness.fresh_key(generator), options.get("block", BLOCK)
    parts = [
        sparse.csr_matrix(transport.sample_block(index, key=key, **options).cpu().numpy())
        for index in range(blocks(n, block))
    ]
    whole: Any = sparse.vstack(parts)
    made = sparse.csr_matrix(whole[:n])
    rows = SparseRows(made)
    tell(far_out(rows, transport.seen, transport.site_names))
    if options.get("condition") is None:
        tell(narrow(rows, transport.seen, transport.variance, transport.site_names))
    return made


doors.guard(__name__, own=("transport",))
