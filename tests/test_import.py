"""What `import markovbridge` imports, and what comes when it is asked for."""

import subprocess
import sys

import pytest

import markovbridge as mb

CLIENTS = ("scipy", "accelerate", "pandas", "anndata", "h5py", "PIL", "diffusers", "matplotlib")
SCRIPT = """
import sys, markovbridge as mb
found = set(sys.modules)
clients = [m for m in found if m.split(".")[0] in {clients}]
readers = [m for m in found if m.startswith(("markovbridge.data.", "markovbridge.training",
                                             "markovbridge.counts", "markovbridge.evaluation",
                                             "markovbridge.cli"))]
light = {{f"markovbridge.data.{{m}}" for m in ("base", "counts", "covariates", "rows", "splits")}}
print(clients, sorted(set(readers) - light))
assert not clients and set(readers) <= light
import markovbridge.cli.sample
metrics = [m for m in sys.modules if "metrics" in m]
assert not metrics, metrics  # which drawing does not need
assert mb.data.Digits().load().x.shape[1:] == (1, 8, 8)
assert mb.CountModel.__name__ == "CountModel" and mb.training.Trainer
"""


def test_a_model_needs_no_reader_of_data_and_no_loop():
    script = SCRIPT.format(clients=CLIENTS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", [mb, mb.data], ids=lambda module: module.__name__)
def test_what_comes_later_is_listed_and_the_rest_is_refused(module):
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"'{module.__name__}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
