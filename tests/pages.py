"""Run folders for reports, and pages read back."""

import json
from html.parser import HTMLParser

import numpy as np
import yaml

from markovbridge.storage.config import to_config

META = {"sampler": "Bridge", "steps": 50, "evaluations": 50, "seed": 4, "weights": "ema"}
VOID = {"meta", "link", "img", "path", "circle", "line", "polyline"}
FULL = {"circle"}  # which holds a title, or closes itself


class Page(HTMLParser):
    """Checks that tags balance; collects text, tables, sources and texts for the blind."""

    def __init__(self, path):
        super().__init__()
        self.open, self.text, self.images, self.sources = [], "", [], []
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.sources += [v for k, v in attributes.items() if k in ("src", "href") and v]
        if tag == "img":
            self.images.append(attributes["alt"])
        if tag not in VOID - FULL:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def make_run(path, source, **extra):
    path.mkdir()
    config = {"data": to_config(source), "training": {"steps": 40, "note": "<b>&"}, **extra}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    return path


def write_samples(run, samples, states, **more):
    """Samples and their paths, made as `META` says and `more`."""
    meta = json.dumps(META | {"n": len(samples), "seconds": 3.0} | more)
    np.savez(run / "samples.npz", samples=samples.numpy(), meta=meta)
    times = np.linspace(0, 1, len(states))
    np.savez(run / "path.npz", times=times, states=states.numpy())
