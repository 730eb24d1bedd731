"""What a folder of a `CountModel` holds beside its transport.

    FOLDER/model/              the transport: `Transport.save_pretrained`
    FOLDER/count_model.json    parameters, kind of table, names of the features, library sizes
    FOLDER/calibration.json    what corrects intervals: `markovbridge.evaluation.calibration`

`CountModel.save` writes such a folder, and so does `markovbridge train TABLE`: its run is the
same model, and `CountModel.load` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from markovbridge import doors
from markovbridge.couplings import Noised
from markovbridge.data import CountTable, Dataset
from markovbridge.data.tables.made import Form
from markovbridge.data.tables.objects import kind_of_file
from markovbridge.exact import BaseFit
from markovbridge.networks import MLP, Attention
from markovbridge.processes import PureDeath
from markovbridge.storage.config import from_config, to_config
from markovbridge.storage.documents import read_json
from markovbridge.storage.files import make_folder, put, to_json, written
from markovbridge.storage.locks import locked
from markovbridge.training import TrainingConfig
from markovbridge.transport import Transport

FORMAT = 1
FILE = "count_model.json"


@dataclass(frozen=True)
class Facts:
    """All that makes a transport a `CountModel`.

    Attributes:
        params: Arguments of the constructor, as `config.to_config` writes them.
        kind: What tables come out as, one of `data.tables.objects.KINDS`.
        features: Names of the features, or None.
        library_sizes: Quantiles of the totals of the training rows; None if they are not told.
        form: How the table of the training holds its values.
    """

    params: Mapping[str, Any]
    kind: str
    features: Sequence[str] | None
    library_sizes: Sequence[float] | None
    form: Form = field(default_factory=Form)

    @classmethod
    def of_run(
        cls,
        transport: Transport,
        config: TrainingConfig,
        source: Any,
        dataset: Dataset,
        base: BaseFit | str | None,
    ) -> Facts | None:
        """The facts of a run of the command line; None if its model is no `CountModel`.

        Args:
            transport: The model.
            config: How it is trained.
            source: Where the data come from.
            dataset: The training data.
            base: What the network corrects, as the recipe has it.
        """
        network = transport.network
        if (
            not isinstance(source, CountTable)
            or not isinstance(transport.process, PureDeath)
            or type(transport.coupling) is not Noised
            or not isinstance(network, MLP | Attention)
        ):
            return None
        size = network.config
        params = {
            "network": "mlp" if isinstance(network, MLP) else "attention",
            "width": size["width"],
            "depth": size["depth"],
            "head": to_config(transport.head),
            "objective": to_config(transport.objective),
            "base": to_config(base),
            "masking": to_config(transport.masking),
            "steps": config.steps,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "validation_fraction": source.validation if config.select == "best" else 0.0,
            "ema": config.ema,
            "layer": source.layer,
            "random_state": config.seed,
        }
        if transport.covariates is not None:
            params["condition_dropout"] = transport.condition_dropout
        kind = kind_of_file(source.format, dataset.x)
        form = Form.of_file(source, dataset.columns)
        return cls(params, kind, dataset.column_names, None, form)

    def write(self, folder: Path) -> None:
        """Write them into a folder."""
        with self.written(folder):
            pass

    @contextmanager
    def written(self, folder: Path) -> Iterator[None]:
        """Write them into a folder; they take effect after the block, if it does not fail.

        Raises:
            InUseError: If another process writes a model there.
        """
        text = to_json({"format": FORMAT, **asdict(self)})
        make_folder(folder)
        with locked(folder, "model"), written(folder / FILE) as fresh:
            put(fresh, text.encode("utf-8"))
            yield

    @classmethod
    def read(cls, folder: Path, kinds: Mapping[str, Any]) -> Facts:
        """Those of a folder, objects among the parameters rebuilt.

        Args:
            folder: The folder.
            kinds: What each parameter must be, as an annotation.

        Raises:
            FileNotFoundError: If there are none, with what would write them.
            ValueError: If the file is damaged.
        """
        path = folder / FILE
        if not path.is_file() and (folder / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{folder} is a run without {FILE}: if it is one of a table of counts by pure "
                f"death, `markovbridge train {folder} --resume true` writes it"
            )
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}; CountModel.save writes one")
        try:
            content = read_json(path)
            if content.pop("format") != FORMAT:
                raise ValueError(f"{path} is damaged: its format is not {FORMAT}")
            saved = {"base": None, **content.pop("params")}  # not in older files
            params = {
                name: from_config(value, kinds.get(name, object), f"{path}: {name}")
                for name, value in saved.items()
            }
            form = Form(**content.pop("form", {}))  # files of older versions have none
            return cls(params, **content, form=form)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from error


doors.guard(__name__)
