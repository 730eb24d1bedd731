"""Seeds and generators are pure functions of their keys."""

import torch

from markovbridge.doors.randomness import derive, fresh_key, generator
from problems import assert_uniform


def test_seeds_are_the_same_on_every_machine():
    """Runs saved with one version are resumed with the next: these numbers may not change."""
    found = (derive(), derive(0), derive(0, "noise", 17), derive("0"))
    assert found == (
        8238016292129134938,
        6711488920161924273,
        1142652129574978989,
        7229554788928137032,
    )
    assert all(0 <= seed < 2**63 for seed in found)


def test_every_key_and_its_type_and_place_matter():
    keys = [(), (0,), ("0",), (1,), (0, 1), (1, 0), (10,), ("0", "1"), ("01",), ("0", 1)]
    assert len({derive(*key) for key in keys}) == len(keys)
    seeds = torch.tensor([derive("uniform", i) for i in range(2000)], dtype=torch.float64)
    assert_uniform(seeds / 2**63)


def test_generators_repeat():
    first, again, other = (
        torch.rand(4, generator=generator("cpu", *key)) for key in ((1, "a"), (1, "a"), (1, "b"))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_fresh_key_advances_its_source():
    g, same = generator("cpu", 5), generator("cpu", 5)
    keys = [fresh_key(g) for _ in range(3)]
    assert len(set(keys)) == 3
    assert [fresh_key(same) for _ in range(3)] == keys
    before = torch.random.get_rng_state()
    assert fresh_key(None) != fresh_key(None)
    assert torch.equal(torch.random.get_rng_state(), before)
