"""What somebody else's files may try, and a watch over whether it worked.

`attacks` are classes and functions to name in a configuration, each with arguments that leave a
trace: a file, a process, the import of a module that nobody else needs. `texts` are whole YAML
files. `watching` says what happened while a file was read.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import signal
import sys

import numpy as np
import pytest
import yaml

CANARY = "hostile_canary"  # a module whose import is a trace
RUNS = ("os.system", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.Popen", "pty.spawn")
FIRST = 5  # probes of a test, which are all run
EACH = 6  # of the others one of so many
BOUND = 20  # seconds after which something hangs


def spec(path, arguments):
    return {"class_path": path, "init_args": arguments}


DONE = []

RECIPE = {
    "data": spec("markovbridge.data.Digits", {}),
    "process": spec(
        "markovbridge.PureDeath",
        {"maximum": 16, "schedule": spec("markovbridge.CosineSchedule", {})},
    ),
    "network": spec("markovbridge.networks.MLP", {"width": 8, "depth": 1}),
    "head": spec("markovbridge.MeanHead", {}),
    "objective": spec("markovbridge.transport.Sum", {"terms": [], "weights": [1.0]}),
    "coupling": spec(
        "markovbridge.Independent", {"source": spec("markovbridge.couplings.Gaussian", {})}
    ),
    "masking": {"none": 0.5},
    "trainer": {"steps": 2},
}

_events: list[tuple[str, str]] = []
_on = [False]
_hooked = [False]


def _audit(event, arguments):
    if _on[0] and (event in RUNS or event == "import"):
        _events.append((event, str(arguments[0])))


@contextlib.contextmanager
def watching(canary_file):
    """What happens inside: a list of traces, empty if there was none.

    The audit hook of Python sees each import and each process that is started; it cannot be
    taken away again, so there is one for all tests.
    """
    if not _hooked[0]:
        sys.addaudithook(_audit)
        _hooked[0] = True
    _events.clear()
    traces = []

    def late(*_):
        raise AssertionError(f"still reading after {BOUND} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(BOUND)
    _on[0] = True
    try:
        yield traces
    finally:
        _on[0] = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    for event, what in _events:
        if event != "import":
            traces.append(f"{event}: {what}")
        elif what.split(".")[0] in (CANARY, "antigravity", "this") or what == "__main__":
            traces.append(f"import {what}")
    if canary_file.exists():
        traces.append("a file was written")
        canary_file.unlink()
    for name in [name for name in sys.modules if name.split(".")[0] == CANARY]:
        del sys.modules[name]


def attacks(file):
    """Pairs of a class path and its arguments, which would leave a trace."""
    shell = f"touch {file}"
    code = f"open({str(file)!r}, 'w')"
    return [
        ("os.system", {"command": shell}),
        ("os.popen", {"cmd": shell}),
        ("os.mkdir", {"path": str(file)}),
        ("os.open", {"path": str(file), "flags": 65}),
        ("posix.system", {"command": shell}),
        ("subprocess.Popen", {"args": shell, "shell": True}),
        ("subprocess.run", {"args": shell, "shell": True}),
        ("subprocess.check_output", {"args": shell, "shell": True}),
        ("builtins.eval", {"source": code}),
        ("builtins.exec", {"source": code}),
        ("builtins.open", {"file": str(file), "mode": "w"}),
        ("builtins.__import__", {"name": CANARY}),
        ("importlib.import_module", {"name": CANARY}),
        ("runpy.run_module", {"mod_name": CANARY}),
        ("shutil.copy", {"src": "/etc/hostname", "dst": str(file)}),
        ("pathlib.Path", {}),
        ("torch.hub.load", {"repo_or_dir": ".", "model": "x", "source": "local"}),
        ("torch.load", {"f": str(file), "weights_only": False}),
        ("numpy.load", {"file": str(file), "allow_pickle": True}),
        ("yaml.unsafe_load", {"stream": f"!!python/object/apply:os.system ['{shell}']"}),
        (CANARY, {}),
        (f"{CANARY}.Net", {}),
        (f"{CANARY}.part.Net", {"width": 3}),
        ("antigravity.webbrowser", {}),
        ("this.s", {}),
        # Of this package, but no parts of a model.
        ("markovbridge.__main__.x", {}),
        ("markovbridge.cli.main", {"arguments": ["--version"]}),
        ("markovbridge.cli.Train.main", {"words": ["digits"]}),
        ("markovbridge.cli.train.Train", {"recipe": "digits"}),
        ("markovbridge.recipes.load", {"name": "digits"}),
        ("markovbridge.cli.console.say", {"text": "said"}),
        ("markovbridge.storage.files.write_text", {"path": str(file), "text": "x"}),
        ("markovbridge.storage.files.os.system", {"command": shell}),
        ("markovbridge.storage.config.from_config", {"config": {"class_path": "os.system"}}),
        ("markovbridge.storage.config.Path", {}),
        ("markovbridge.Transport.from_pretrained", {"directory": str(file)}),
        ("markovbridge.training.Trainer", {}),
        ("markovbridge.CountModel", {}),
        ("markovbridge.processes.schedules", {}),
        ("markovbridge", {}),
        (f"markovbridge.{CANARY}.Net", {}),
        (f"markovbridge_{CANARY}.Net", {}),
        (".os.system", {"command": shell}),
        ("os..system", {"command": shell}),
        ("os.system\n", {"command": shell}),
        ("", {}),
    ]


def put(config, place, value):
    """A copy of a configuration with a value at a place, classes on the way as they are."""
    found = copy.deepcopy(config)
    *way, last = place.split(".")
    node = found
    for key in way:
        node = node[key]
        node = node.get("init_args", node)
    node[last] = value
    return found


def texts(file):
    """Whole YAML files by name, each of which tries something."""
    shell = f"touch {file}"
    run = f"{{class_path: os.system, init_args: {{command: '{shell}'}}}}"
    deep = 20_000
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 10)
    )
    tags = [
        f"!!python/object/apply:os.system ['{shell}']",
        f"!!python/object/apply:os.system {{args: ['{shell}']}}",
        f"!!python/object/new:os.system ['{shell}']",
        f"!!python/object/apply:subprocess.Popen [['touch', '{file}']]",
        f"!!python/object/apply:builtins.exec [\"open('{file}', 'w')\"]",
        f"!!python/object:{CANARY}.Net {{}}",
        f"!!python/name:{CANARY}.Net ''",
        f"!!python/module:{CANARY} ''",
        "!!python/tuple [1, 2]",
        "!!python/bytes 'aGk='",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!timestamp 2001-01-01",
        "!include /etc/hostname",
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['true']",
        "!!int '12:30:00'",
    ]
    found = {f"tag {tag[:40]}": f"data: Digits\nprocess: {tag}\n" for tag in tags}
    found |= {f"first {tag[:40]}": f"{tag}\n" for tag in tags}
    found |= {
        "bomb": bomb,
        "bomb in place": f"{bomb}process: *a9\n",
        "bomb in a text": f"process: PureDeath\nhead: Mean\nobjective: '{{{bomb[:40]}}}'\n",
        "alias": "data: &d Digits\nprocess: *d\n",
        "recursive": "data: &d [*d]\n",
        "merge": f"x: &x {run}\nnetwork: {{<<: *x}}\n",
        "merge in place": f"network: {{<<: {run}}}\n",
        "deep list": "data: " + "[" * deep + "]" * deep,
        "deep dictionary": "data: " + "{a: " * deep + "1" + "}" * deep,
        "deep lines": "\n".join(" " * k + "a:" for k in range(2000)),
        "twice": f"network: MLP\nnetwork: {run}\n",
        "two documents": f"data: Digits\n---\nnetwork: {run}\n",
        "dotted": f"network.class_path: os.system\nnetwork.init_args.command: {shell}\n",
        "dotted inside": "process: {class_path: PureDeath, init_args: "
        f"{{schedule.class_path: {CANARY}.S}}}}\n",
        "appended": f"network+: {run}\n",
        "config": f"config: {file}\n",
        "path": f"__path__: {file}\ndata: Digits\n",
        "default config": f"__default_config__: {file}\n",
        "schema": f"$schema: {file}\n",
        "print": "print_config: true\n",
        "output": f"output: {file}\n",
        "overwrite": "overwrite: true\n",
        "recipe": "recipe: digits\n",
        "kwargs": "process: {class_path: PureDeath, dict_kwargs: {schedule: "
        f"{{class_path: {CANARY}.S}}}}}}\n",
        "kwargs inside": "process: {class_path: PureDeath, init_args: {dict_kwargs: "
        f"{{a: {{class_path: {CANARY}.S}}}}}}}}\n",
        "more keys": f"process: {{class_path: PureDeath, __path__: {file}}}\n",
        "inside twice": f"process: {{class_path: PureDeath, init_args: {{init_args: {run}}}}}\n",
        "a text that is a class": f'network: "{run}"\n',
        "a text of options": "process: {class_path: PureDeath, init_args: "
        f"'{{schedule: {CANARY}.S}}'}}\n",
        "a list of classes": f"network: [{run}]\n",
        "a class where a number is": f"trainer: {{steps: {run}}}\n",
        "a text where a tensor is": "coupling: {class_path: Dirac, init_args: "
        f"{{value: {CANARY}.Net}}}}\n",
        "a class where a tensor is": "coupling: {class_path: Dirac, init_args: "
        f"{{value: {{class_path: {CANARY}.Net}}}}}}\n",
        "a class where anything is": "process: {class_path: FiniteChain, init_args: "
        f"{{rate_matrix: {run}}}}}\n",
        "a text where anything is": "process: {class_path: FiniteChain, init_args: "
        f'{{rate_matrix: "{run}"}}}}\n',
        "a name where anything is": "process: {class_path: FiniteChain, init_args: "
        f"{{rate_matrix: {CANARY}.Net}}}}\n",
        "a function where one is": "process: {class_path: PureDeath, init_args: {schedule: "
        f"{{class_path: SurvivalSchedule, init_args: {{function: {CANARY}.Net}}}}}}}}\n",
        "a function with arguments": "process: {class_path: PureDeath, init_args: {schedule: "
        f"{{class_path: SurvivalSchedule, init_args: {{function: {run}}}}}}}}}\n",
        "a name in a message": "head: {class_path: Mean, init_args: {kernel: "
        f'"class_path \'{CANARY}.Net\' Parser key \\"x\\""}}}}\n',
        "a number as path": "process: {class_path: 3}\n",
        "a list as path": f"process: {{class_path: [{CANARY}.Net]}}\n",
        "options as a list": "process: {class_path: PureDeath, init_args: [1, 2]}\n",
        "no text": 'data: "\\ud800"\n',
        "a null byte": 'data: "\\0"\n',
    }
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with a canary to import, and a run and a count model, both small."""
    import markovbridge as mb  # not above: `conftest.py` is read before the workers start
    from markovbridge.networks import MLP

    root = tmp_path_factory.mktemp("hostile")
    trap = f"open({str(root / 'traces')!r}, 'w').close()\nclass Net:\n    pass\n"
    (root / "path").mkdir()
    (root / "path" / CANARY).mkdir()
    for name in ("__init__", "part"):
        (root / "path" / CANARY / f"{name}.py").write_text(trap)
    (root / "path" / f"markovbridge_{CANARY}.py").write_text(trap)
    run = root / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(RECIPE))
    network = MLP((1, 8, 8), features=1, outputs=1, width=8, depth=1)
    model = mb.Transport(mb.PureDeath(16), network, mb.MeanHead(), shape=(1, 8, 8))
    model.save_pretrained(run / "model")
    counts = mb.CountModel(width=8, depth=1, steps=2, batch_size=8, validation_fraction=0)
    counts.fit(np.random.default_rng(0).poisson(3.0, (20, 5))).save(root / "counts")
    return root


@pytest.fixture
def probe(places, monkeypatch, capsys, pytestconfig):
    """Runs something, and says what is wrong with how it ended: nothing, one hopes.

    It must end with one error of ours; where it `may_pass`, leaving no trace is enough. Of a
    test of many probes every sixth is run, unless all are asked for (`--whole`): all attacks and
    all places, as there are more places than that, and their numbers have no divisor of six.
    """
    whole, asked = pytestconfig.getoption("whole"), itertools.count()
    monkeypatch.syspath_prepend(places / "path")
    monkeypatch.chdir(places)
    monkeypatch.setenv("BROWSER", "true")
    errors = (ValueError, TypeError, FileNotFoundError)

    def run(name, action, *, may_pass=False):
        if (index := next(asked)) >= FIRST and index % EACH and not whole:
            return []
        DONE.append(name)
        capsys.readouterr()
        with watching(places / "traces") as traces:
            try:
                status, said = action(), None
            except errors as error:
                status, said = 1, f"error: {error}"
            except BaseException as error:
                status, said = 3, f"{type(error).__name__}: {error}"
        if said is None:
            lines = capsys.readouterr().err.splitlines()
            found = [line for line in lines if line.startswith("error: ")]
            said = found[0] if len(found) == 1 else f"{len(found)} errors: {lines}"
        if may_pass and status == 0:
            pass
        elif status not in (1, 2) or "MARKOVBRIDGE_DEBUG" in said or len(said) > 3000:
            traces.append(f"ended with {status}: {said[:200]}")
        return [f"{name}: {trace}" for trace in traces]

    return run


def classes(places, config, where):
    """A configuration for each attack at each place, as a class with options and by name."""
    for path, arguments in attacks(places / "traces"):
        for place in where:
            yield f"{path!r} at {place}", put(config, place, spec(path, arguments))
    for path, _ in attacks(places / "traces"):
        for place in where[:4]:
            yield f"{path!r} by name at {place}", put(config, place, path)
    for place in where:
        inside = spec(f"{CANARY}.Net", {"x": spec(f"{CANARY}.part.Net", {})})
        for how, value in {
            "in a list": [inside],
            "without init_args": {"class_path": f"{CANARY}.Net"},
            "with more": {**inside, "dict_kwargs": {"a": inside}},
            "with a path": {**inside, "__path__": "/etc"},
            "nested": spec(f"{CANARY}.Net", inside),
            "as a text": json.dumps(inside),
        }.items():
            yield f"{how} at {place}", put(config, place, value)


def counted(record_property, capsys, least):
    """Tell how many probes there were, by kind: the first word of their names."""
    kinds = {}
    for name in DONE:
        kinds[name.split()[0]] = kinds.get(name.split()[0], 0) + 1
    record_property("probes", json.dumps(kinds))
    with capsys.disabled():
        print(f" {len(DONE)} probes, {len(set(DONE))} of them different: {kinds}")
    assert len(set(DONE)) >= least
