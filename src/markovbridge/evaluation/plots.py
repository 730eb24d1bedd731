"""Pictures of what a process or a model does between t = 0, the source, and t = 1, the data.

| function | what is drawn |
|---|---|
| `plot_marginals` | probabilities of states over time, quantiles of reals and of large counts |
| `plot_rates` | rates of jumps, a drift or a score over time and state |
| `plot_paths` | paths, those of jumps as steps |
| `plot_values` | any numbers over time and state, as an image |

Each looks at one site, draws on the axes it is given, or on new ones, and returns them:
`ax.figure.savefig("picture.png")`. New axes say above what they show; `ax.set_title(...)` says
something else. A model has `shape` and `frames(x, times, generator=)`, and
`leaving`, `change`, `drift` or `score` of (x, t): a `Transport`, or one of `simulated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling, Noised
from markovbridge.doors import checks
from markovbridge.evaluation.sites import at_site, at_times, place, walked
from markovbridge.laws import Law, SiteLaw
from markovbridge.processes import Process
from markovbridge.simulated import Path
from markovbridge.storage.captions import axes, named
from markovbridge.storage.lazily import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 200  # values of a site whose probabilities are drawn; of more, quantiles are
NOTHING = 1e-4  # probability of values at the ends that are left out
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SEEN = 0.98  # share of the numbers of `plot_rates` that have a colour of their own


class Shaped(Protocol):
    """A model on events of one shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape, without the batch."""
        ...


@runtime_checkable
class Walking(Shaped, Protocol):
    """A model that says where its paths are at given times."""

    def frames(
        self, x: Tensor | int, times: Sequence[float], *, generator: torch.Generator | None = None
    ) -> Tensor:
        """States from x at the first time, or n from the source: (times, n, *event)."""
        ...


@runtime_checkable
class Marginals(Protocol):
    """What knows its marginals, such as `exact.Reverse`."""

    def marginal(self, t: float) -> Tensor:
        """The law of x_t, (states,)."""
        ...


def plot_values(
    values: Tensor,
    times: Sequence[float] | None = None,
    states: Sequence[float] | None = None,
    *,
    label: str = "",
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw numbers over time and state, or over time and site, as an image.

    Args:
        values: The numbers, (times, states); those that are not finite are left blank.
        times: When, increasing or decreasing; None spaces them evenly over [0, 1].
        states: Where, in order; None is 0, 1, ...
        label: What they are, beside a bar of their colours; no bar if empty.
        ax: Where to draw; None makes a figure.
        **style: What `Axes.pcolormesh` takes, such as `cmap`, `vmin` and `vmax`.

    Raises:
        ModuleNotFoundError: Without matplotlib, as every function here.
        ValueError: If shapes do not fit.
    """
    if values.ndim != 2:
        raise ValueError(f"values must be (times, states), not {tuple(values.shape)}")
    when, places = (
        at_times(times, len(values)),
        range(values.shape[1]) if states is None else states,
    )
    if len(places) != values.shape[1]:
        raise ValueError(f"there are {len(places)} states for {values.shape[1]} columns of values")
    order = np.argsort(when, kind="stable")
    shown = np.ma.masked_invalid(values.detach().double().cpu().numpy()[order].T)
    what = f"{label[:1].upper()}{label[1:]}" if label else "Values"
    ax = axes(ax, f"{what} over time: {len(values):,} times x {len(places):,} states")
    inner, places = np.asarray(when)[order], np.asarray(places, dtype=float)
    across = np.concatenate([inner[:1], (inner[1:] + inner[:-1]) / 2, inner[-1:]])
    image = ax.pcolormesh(across, _edges(places), shown, **style)
    ax.set(xlabel="t", ylabel="state")
    if bool((places == places.round()).all()):
        _whole_ticks(ax)
    if label:
        low, high = image.get_clim()
        found = shown.compressed()
        ends = bool((found < low).any()), bool((found > high).any())
        extend = {(0, 0): "neither", (0, 1): "max", (1, 0): "min", (1, 1): "both"}[ends]
        ax.figure.colorbar(image, ax=ax, label=label, extend=extend)
    return ax


@torch.no_grad()
def plot_marginals(
    of: Walking | Marginals | Process | Tensor,
    data: Tensor | None = None,
    *,
    times: Sequence[float] | None = None,
    site: int | tuple[int, ...] | None = None,
    coupling: Coupling | None = None,
    n: int = 1000,
    generator: torch.Generator | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the law of a site over time.

    Whole numbers get the probability of each value, as an image; reals, and whole numbers of more
    than 200 values, their median, the range of half of them and that of nine tenths.

    Args:
        of: A model, whose paths are sampled; `exact.Reverse`, which knows its marginals; states
            (times, n, *event); or a process together with `data`. For it the law of x_t is that
            of the coupling, exactly for whole numbers of few values and sampled else.
        data: Data of a process, (N, *event), as `process.check` returns them.
        times: When; by default 61 times from 0 to 1.
        site: Which number of the event; None if it has one.
        coupling: Of a process and data; None is `Noised()`, the process run from the data.
        n: How many states are drawn where some are.
        generator: Source of randomness.
        ax: Where to draw; None makes a figure.

    Raises:
        ValueError: If data are missing or too many, or there is no such site.
    """
    checks.whole(n, "n", least=1)
    if isinstance(of, Process) == (data is None):
        raise ValueError(
            "a process has marginals together with data, (N, *event), and nothing else takes "
            f"data: {type(of).__name__} came {'without' if data is None else 'with'} them"
        )
    when = at_times(times, len(of) if isinstance(of, Tensor) else None)
    if isinstance(of, Process):
        assert data is not None, "as was checked"
        coupling = coupling or Noised()
        laws = [coupling.given_end(of, data, t) for t in when]
        there, values = place(tuple(data.shape[1:]), site), _values(laws)
        says = f"{_law(site)} of {named(of)}, {named(coupling)}, {len(data):,} data: "
        if values is not None:
            tables = [_probabilities(law, data, values)[:, *there].mean(0) for law in laws]
            return _image(torch.stack(tables), when, values[0], ax, f"{says}exact")
        rows = torch.randint(len(data), (n,), generator=generator)
        laws = [coupling.given_end(of, data[rows], t) for t in when]
        drawn = [law.sample(generator=generator)[:, *there] for law in laws]
        return _sampled(torch.stack(drawn), when, ax, f"{says}{n:,} draws")
    if isinstance(of, Marginals):
        table = torch.stack([of.marginal(t) for t in when])
        return _image(table, when, 0, ax, f"{_law(None)} of {named(of)}: exact")
    x = walked(of, when, site, n, generator)
    whose = "" if isinstance(of, Tensor) else f" of {named(of)}"
    return _sampled(x, when, ax, f"{_law(site)}{whose}: {x.shape[1]:,} paths")


def _law(site: int | tuple[int, ...] | None) -> str:
    """What marginals are, in a caption."""
    return f"Law of x_t{_sited(site)}"


def _sited(site: int | tuple[int, ...] | None) -> str:
    return "" if site is None else f" at site {site}"


def _values(laws: list[Law]) -> range | None:
    """The values that laws of whole numbers give a probability to, if they are few."""
    if all(law.categories is not None for law in laws):
        return range(max(law.categories or 0 for law in laws))
    windows = [law.window for law in laws if isinstance(law, SiteLaw) and law.window is not None]
    if len(windows) < len(laws):
        return None
    least = min(int(low.min()) for low, _ in windows)
    most = max(int(high.max()) for _, high in windows)
    return range(least, most + 1) if most - least < 10 * WIDEST else None


def _probabilities(law: Law, x: Tensor, values: range) -> Tensor:
    """Probabilities of these values at each site: (batch, *event, values)."""
    if law.categories is not None:
        return law.table().log_probs.double().exp()
    assert isinstance(law, SiteLaw), "it has a window"
    each = [law.site_log_prob(torch.full_like(x, value)) for value in values]
    return torch.stack(each, -1).double().exp()


def _image(table: Tensor, when: list[float], least: int, ax: Axes | None, says: str) -> Axes:
    """Probabilities (times, values) of the values from `least` on, bare ends left out."""
    some = (table.amax(0) > NOTHING).nonzero().flatten()
    first, last = int(some[0]), int(some[-1]) + 1
    kept = range(least + first, least + last)
    ax = axes(ax, says)
    return plot_values(table[:, first:last], when, kept, label="probability", vmin=0.0, ax=ax)


def _sampled(x: Tensor, when: list[float], ax: Axes | None, says: str) -> Axes:
    """Marginals of states of a site, (times, n)."""
    if not x.is_floating_point():
        least, values = int(x.min()), int(x.max()) - int(x.min()) + 1
        if values <= WIDEST:
            counts = [torch.bincount(row - least, minlength=values) for row in x]
            return _image(torch.stack(counts).double() / x.shape[1], when, least, ax, says)
    bands = torch.quantile(x.double(), torch.tensor(QUANTILES).to(x.device).double(), dim=1)
    low, lower, middle, upper, high = bands.cpu().numpy()
    ax = axes(ax, f"{says}; median, middle half, nine tenths")
    ax.fill_between(when, low, high, color="tab:blue", alpha=0.2, linewidth=0, label="9 in 10")
    ax.fill_between(when, lower, upper, color="tab:blue", alpha=0.4, linewidth=0, label="half")
    ax.plot(when, middle, color="tab:blue", label="median")
    ax.set(xlabel="t", ylabel="x")
    return ax


@torch.no_grad()
def plot_rates(
    model: Shaped,
    what: Literal["leaving", "change", "drift", "score"] = "leaving",
    states: Sequence[float] | None = None,
    *,
    times: Sequence[float] | None = None,
    site: int | tuple[int, ...] | None = None,
    at: Tensor | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a model says of one site, for each of its states and over time.

    Rates grow without bound towards the data: colours end where 98 % of the numbers do.

    Args:
        model: A model with the method `what`.
        what: "leaving", the rate at which the site leaves its value, and "change", its mean change
            per unit of time, of models that jump; "drift" and "score" of diffusions.
        states: Values of the site; None takes those of a process that has finitely many.
        times: When; by default 60 times in (0, 1).
        site: Which number of the event; None if it has one.
        at: The event whose site takes these values, *event; needed if there are other sites.
        ax: Where to draw; None makes a figure.

    Raises:
        TypeError: If the model has no such rates, with what it has.
        ValueError: If states or `at` are missing, or there is no such site.
    """
    if not hasattr(model, what):
        known = [name for name in ("leaving", "change", "drift", "score") if hasattr(model, name)]
        has = f"it has {' and '.join(known)}" if known else "give a model, such as a Transport"
        raise TypeError(f"{type(model).__name__} has no `{what}` to draw: {has}")
    when = at_times(times, None) if times is not None else [(k + 0.5) / 60 for k in range(60)]
    event, process = tuple(model.shape), getattr(model, "process", None)
    there = place(event, site)
    if states is None:
        count = getattr(process, "states", None)
        if count is None:
            raise ValueError("which states to look at is not known: say it, as by states=range(9)")
        states = range(count)
    values = torch.as_tensor(list(states), dtype=getattr(process, "dtype", None))
    if at is None and values[:1].expand(event).numel() != 1:
        raise ValueError(f"`at` is missing: the other sites of the event {event} need values")
    base = values[:1].reshape(event) if at is None else at
    if tuple(base.shape) != event:
        raise ValueError(f"`at` must be one event {event}, not {tuple(base.shape)}")
    x = base.expand(len(values), *event).clone()
    x[:, *there] = values.to(x)
    x = x.to(getattr(model, "device", "cpu"))
    with getattr(model, "evaluating", nullcontext)():
        found = [
            getattr(model, what)(x, torch.full((len(x),), t, dtype=torch.float64).to(x.device))
            for t in when
        ]
    shown = torch.stack(found)[:, :, *there].double()
    size = shown.abs()[shown.isfinite()]
    most = float(size.quantile(SEEN)) if len(size) else 0.0
    style = {"vmin": 0.0} if what == "leaving" else {"vmin": -most, "cmap": "RdBu_r"}
    label = {"leaving": "rate of leaving", "change": "change per unit of time"}.get(what, what)
    others = ", the other sites fixed" if base.numel() > 1 else ""
    ax = axes(ax, f"{label[:1].upper()}{label[1:]}{_sited(site)} of {named(model)}{others}")
    return plot_values(shown, when, states, label=label, ax=ax, vmax=most, **style)


def plot_paths(
    of: Walking | Path | Tensor,
    *,
    times: Sequence[float] | None = None,
    site: int | tuple[int, ...] | None = None,
    n: int = 20,
    generator: torch.Generator | None = None,
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw paths of a site, those of whole numbers as steps.

    Args:
        of: A model, whose paths are sampled from the source on; states (times, paths, *event); or
            a `simulated.Path`, each jump at its time, from the last to the first of the times
            at which `simulated.walk` was told to look.
        times: When; by default 61 times from 0 to 1. Of a model they are the steps of its walk.
            Those of states may decrease, as noising does. A path has its own.
        site: Which number of the event; None if it has one.
        n: How many paths at most.
        generator: Source of randomness.
        ax: Where to draw; None makes a figure.
        **style: What `Axes.plot` takes, such as `color` and `alpha`.

    Raises:
        ValueError: If there is no such site, or times do not fit.
    """
    checks.whole(n, "n", least=1)
    style = {"linewidth": 0.8, **style}
    if isinstance(of, Path):
        if times is not None:
            raise ValueError("a path has times of its own: leave out `times`")
        lines = [_line(of, row, site) for row in range(min(n, len(of.times)))]
        whole = not of.states.is_floating_point()
        ax = axes(ax, f"{len(lines):,} paths{_sited(site)}, each jump at its time")
        for when, x in lines:
            ax.plot(when, x, drawstyle="steps-pre", **style)
    else:
        when = at_times(times, len(of) if isinstance(of, Tensor) else None)
        x = walked(of, when, site, n, generator)[:, :n].detach().cpu()
        # A state holds until the next time, which of noising is an earlier one.
        steps = "steps-post" if when[0] <= when[-1] else "steps-pre"
        order = np.argsort(when, kind="stable")
        whole = not x.is_floating_point()
        whose = "" if isinstance(of, Tensor) else f" of {named(of)}"
        ax = axes(ax, f"{x.shape[1]:,} paths{_sited(site)}{whose}")
        ax.plot(
            np.asarray(when)[order],
            x.numpy()[order],
            drawstyle=steps if whole else "default",
            **style,
        )
    if whole:
        _whole_ticks(ax)
    ax.set(xlabel="t", ylabel="x")
    return ax


def _line(path: Path, row: int, site: int | tuple[int, ...] | None) -> tuple[Any, Any]:
    """Times of a path, increasing, and its states there, which hold from the time before on."""
    mine = path.rows == row
    when = torch.cat([path.times[row], path.when[mine]])
    x = at_site(torch.cat([path.states[row], path.after[mine]]).unsqueeze(1), site)[:, 0]
    order = when.argsort(stable=True)
    return when[order].cpu().numpy(), x[order].cpu().numpy()


def _whole_ticks(ax: Axes) -> None:
    """States that are whole numbers have ticks at whole numbers."""
    ticker = optional("matplotlib.ticker", "drawing")
    ax.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def _edges(places: np.ndarray) -> np.ndarray:
    """Where cells around these places meet, and the outer ends of the first and the last."""
    half = np.diff(places) / 2 if len(places) > 1 else np.array([0.5])
    return np.concatenate(
        [places[:1] - half[:1], places[:-1] + half[: len(places) - 1], places[-1:] + half[-1:]]
    )


doors.guard(__name__)
