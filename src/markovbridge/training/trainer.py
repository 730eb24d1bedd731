r"""The training loop, and all that happens beside the steps.

    trainer = Trainer(transport, x, TrainingConfig(steps=2000), directory="runs/digits")
    model = trainer.run()                  # or, to look at every step:
    for state in trainer:
        ...

Everything random is a pure function of (seed, step, process, micro-batch), and
the learning rate of the step; so a checkpoint is the weights, their average, the
optimiser's moments and the step, and a run that was killed and continued ends
with the same bits as one that was not (on a GPU, up to kernels that are not
deterministic themselves).

`accelerate` gives the device, data-parallel processes and clipping. Start two
processes with `torchrun --standalone --nproc_per_node=2`; every process takes
its part of the batch, so `batch_size` means the same for any number of them.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from markovbridge import doors
from markovbridge.data.rows import Rows
from markovbridge.storage.files import make_folder
from markovbridge.storage.locks import locked
from markovbridge.storage.png import is_image
from markovbridge.training import checkpoint, pictures
from markovbridge.training import resume as identity
from markovbridge.training.card import facts
from markovbridge.training.config import TrainingConfig
from markovbridge.training.examples import Batches, Examples
from markovbridge.training.learner import Learner
from markovbridge.training.log import RunLog
from markovbridge.training.parallel import accelerator, placed, threaded
from markovbridge.training.progress import Stopwatch, TrainingState, announced
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.selection import Best, HeldOutLoss, tell_errors, tell_plans
from markovbridge.training.signals import StopRequest, stop_requests
from markovbridge.transport import Transport

Callback = Callable[["Trainer", TrainingState], Any]


class Trainer:
    """Fits a transport's network to data.

    Args:
        transport: The model; its weights are trained in place.
        data: Samples (N, *event) as a tensor, `Rows` or an array, a `data.Dataset`, what is read
            by position, as of `data.collect`, or `Examples` with conditions or sources.
        config: How to train.
        validation: Held-out samples, for the loss with averaged weights and dropout off; see
            `HeldOutLoss` for how many are looked at.
        directory: Folder of the run, for checkpoints, logs, samples and the model; None
            keeps everything in memory.
        resume: Continue from the newest intact checkpoint in `directory`; start afresh
            if there is none. Without it, a folder with checkpoints is an error.
        card: Facts for the model card beside those the trainer knows.
        callbacks: Called as `callback(trainer, state)` after each step, in every process, when
            what belongs to the step is done.

    Attributes:
        step: Steps done so far.
        learner: Weights, optimiser and average.
        best: The averaged weights with the lowest held-out loss so far, if the configuration
            selects them; else None.

    Raises:
        FileExistsError: If the folder holds a run and `resume` is false.
        InUseError: If another process is training in the folder.
        ValueError: If data, transport and configuration do not fit together, or the run
            to continue was another one; the message names what differs.
    """

    def __init__(
        self,
        transport: Transport,
        data: Any,
        config: TrainingConfig | None = None,
        *,
        validation: Any = None,
        directory: str | Path | None = None,
        resume: bool = False,
        card: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.callbacks = tuple(callbacks)
        self.transport = transport
        self.config = TrainingConfig() if config is None else config
        self.data = Examples.of(data, transport.shape, "data", transport.covariates)
        transport.see(self.data.x)
        if validation is None and self.config.validate_every:
            raise ValueError("validate_every is set, but there is no validation data; pass some.")
        identity.check_folder(directory, self.config, resume=resume)
        self.directory: Path | None = None
        self.card = dict(card or {})
        self.accelerator = accelerator()
        self.device = self.accelerator.device
        self.learner = Learner(transport, self.config, self.accelerator)
        self.validation: HeldOutLoss | None = None
        if validation is not None:
            told, size = transport.covariates, self.learner.micro_batch
            held_out = Examples.of(validation, transport.shape, "validation", told)
            self.validation = HeldOutLoss(held_out, self.config, size, self.accelerator)
        self.best = Best(self.averaged) if self.config.select == "best" else None
        self.step = 0
        self.log = RunLog(None, self.accelerator.is_main_process)
        chunk = self.data.x.chunk if isinstance(self.data.x, Rows) else 1
        self._batches = Batches(len(self.data), self.config.batch_size, self.config.seed, chunk)
        self._identity: dict[str, Any] = {}
        self._validation_loss: float | None = None
        self._measured: int | None = None  # step of the weights whose errors are known
        self._planned: int | None = None
        self._watch = Stopwatch()
        if directory is not None:
            self.open(Path(directory), resume=resume)

    @property
    def averaged(self) -> Transport:
        """The transport with averaged weights and dropout off."""
        return self.learner.averaged

    @property
    def result(self) -> Transport:
        """What the run comes to: the averaged transport, or the best it has been so far."""
        return self.averaged if self.best is None or self.best.step is None else self.best.model

    def run(self) -> Transport:
        """Train to the last step.

        Returns:
            The `result`: the transport with averaged weights, the last or the best.

        Raises:
            FloatingPointError: As for iterating.
            SystemExit: As for iterating.
        """
        for _ in self:
            pass
        self._measure()
        return self.result

    def __iter__(self) -> Iterator[TrainingState]:
        """Train, one step for each item, with all that belongs to a step done.

        Leaving the loop early is fine; iterating again continues. `save` writes a
        checkpoint at any time.

        Raises:
            FloatingPointError: If the loss or its gradient is not finite, naming the
                step. The checkpoints written before are intact.
            SystemExit: If SIGINT or SIGTERM ended the run, after a checkpoint was written.
        """
        with self._session() as (request, bar):
            stop, fresh = False, True
            self.data.prefetch(self._batches.first(self.step))
            while self.step < self.config.steps and not stop:
                batch = self._batches[self.step]
                loss, norm = self.learner.update(self.step, self.data, batch)
                self.data.prefetch(self._batches.following(self.step, fresh))
                fresh = False
                state = TrainingState(self.step + 1, loss, norm, self.config.rate(self.step))
                self.step += 1
                bar.update()
                self._report(state, bar)
                stop = self._must_stop(request)
                if self.directory and (stop or self._due(self.config.checkpoint_every)):
                    self.save()
                for callback in self.callbacks:
                    callback(self, state)
                yield state
            if request.signal is not None or stop:
                self._leave(request.signal or signal.SIGTERM)

    @contextmanager
    def _session(self) -> Iterator[tuple[StopRequest, tqdm]]:
        """What must be undone when the loop is left, however it is left."""
        if self.config.tracker and self.directory is None:
            raise ValueError(f"tracker is {self.config.tracker!r}; give the run a directory too.")
        self.transport.train()
        self._watch.start(self.step)
        with ExitStack() as stack:
            stack.enter_context(threaded(self.config.threads))
            stack.enter_context(self._alone())
            # Without a folder there is nothing to save, so a signal acts at once.
            request = stack.enter_context(stop_requests(self.directory is not None))
            bar = stack.enter_context(self.log.progress(self.config.steps, self.step))
            try:
                if self.step < self.config.steps:
                    self._announce()
                if self.step == 0 and self.directory:
                    self.save()
                yield request, bar
            finally:
                self._watch.stop()
                self.log.close()
                self.transport.eval()

    def _announce(self) -> None:
        self.log.start()
        told = self.learner.parameters, len(self.data), placed(self.accelerator)
        self.log.line(announced(self.step, self.config, *told, self.transport.objective.remark))

    def _due(self, every: int) -> bool:
        """Whether this step ends `every` steps, 0 being never, or all of them."""
        return every > 0 and self.step % every == 0 or self.step == self.config.steps

    def _must_stop(self, request: StopRequest) -> bool:
        """Whether a signal ends the loop here, which all processes must agree on."""
        if self.accelerator.num_processes == 1:
            return request.signal is not None
        return self._due(self.config.log_every) and request.of_any(self.accelerator)

    def _leave(self, number: int) -> None:
        name = signal.Signals(number).name
        self.log.line(
            f"{name}: stopped after step {self.step} of {self.config.steps} and saved to "
            f"{self.directory}; run it again with resume to continue",
            logging.WARNING,
        )
        raise SystemExit(128 + number)

    def _report(self, state: TrainingState, bar: tqdm) -> None:
        """Log, validate and draw where it is due."""
        config = self.config
        if self._due(config.log_every):
            self._log(state, bar)
        if config.validate_every and self._due(config.validate_every):
            self._validate()
        if config.sample_every and self._due(config.sample_every):
            self._draw()

    def _log(self, state: TrainingState, bar: tqdm) -> None:
        loss, norm = self.learner.window.take()
        numbers, text = self._watch.report(state, self.config, loss, norm)
        self.log.metrics(self.step, **numbers)
        self.log.line(text)
        bar.set_postfix(loss=f"{loss:.5g}", refresh=False)

    def _validate(self) -> None:
        loss = self._validation_loss = self.validate()
        text, kept = f"step {self.step}: held-out loss {loss:.5g}", {}
        if self.best is not None:
            if self.best.offer(self.averaged, self.step, loss):
                text += ", the lowest so far"
            kept = self.best.facts()
        self.log.metrics(self.step, validation_loss=loss, **kept)
        self.log.line(text)
        if self.best is not None and self.step == self.config.steps:
            step, loss = self.best.step, self.best.loss
            self.log.line(f"keeping the weights of step {step}, of held-out loss {loss:.5g}")

    def validate(self) -> float:
        """Mean held-out loss of the averaged weights, with the same noise every time.

        Raises:
            ValueError: If there is no validation data.
        """
        if self.validation is None:
            raise ValueError("There is no validation data; pass some to the trainer.")
        return self.validation.loss(self.averaged)

    def _draw(self) -> None:
        """Write a grid of samples of the result so far."""
        if self.directory is None or not self.accelerator.is_main_process:
            return
        if not is_image(self.transport.shape):
            self.log.line(f"step {self.step}: no grid, {self.transport.shape} is not an image")
            return
        self._measure()
        path = RunFolder(self.directory).grid(self.step)
        pictures.draw(self.result, self.data, self.config, path, self.step)

    # Checkpoints

    def save(self) -> None:
        """Write a checkpoint and the model as of now; all processes must call it.

        Raises:
            ValueError: If the trainer has no directory.
        """
        if self.directory is None:
            raise ValueError("There is nowhere to save to; give the trainer a directory.")
        self.learner.window.share()
        if self.accelerator.is_main_process:
            self.log.flush()
            state = {
                "step": self.step,
                "run": self._identity,
                "processes": self.accelerator.num_processes,
                "window": self.learner.window.values,
                "validation_loss": self._validation_loss,
                "elapsed_s": self._watch.elapsed(),
            }
            tensors = self.learner.tensors()
            if self.best is not None:
                state["best"], tensors["best"] = self.best.facts(), self.best.model.state_dict()
            folder = RunFolder(self.directory).checkpoints
            with self._alone():
                checkpoint.write(folder, self.step, tensors, state)
                checkpoint.prune(folder, self.config.keep)
                self._publish(self.directory)
        self.accelerator.wait_for_everyone()

    def _publish(self, directory: Path) -> None:
        """Write the result so far for use."""
        told = facts(len(self.data), self.step, self.config, self._validation_loss, self.best)
        self._measure()
        self.result.save_pretrained(RunFolder(directory).model, card={**told, **self.card})

    def _measure(self) -> None:
        """Tell the result its errors over time and, at the end, how to sample in few steps.

        On held-out data if there are any, and once for the same weights, whatever asks for it.
        """
        best, held = self.best, self.validation
        step = self.step if best is None or best.step is None else best.step
        data = self.data if held is None else held.examples
        if self.result.process.thins and self._measured != step:
            self._measured = step
            tell_errors(self.result, data, self.config.seed)
        if self.step == self.config.steps and self._planned != step:
            self._planned = step
            tell_plans(self.result, data, self.config)

    def open(self, directory: Path, *, resume: bool) -> None:
        """Take a folder into use: continue the run in it, or start one.

        What the constructor does with the directory it is given; all processes must call it.

        Args:
            directory: Folder of the run.
            resume: As of the constructor.

        Raises:
            FileExistsError, InUseError: As of the constructor.
            ValueError: If the run to continue was another one.
        """
        folder = RunFolder(directory).checkpoints
        if checkpoint.steps(folder) and not resume:
            raise FileExistsError(
                f"{directory} holds a run with checkpoints; continue it with resume=True, or "
                "choose another directory."
            )
        self.directory = directory
        if self.accelerator.is_main_process:
            make_folder(directory)
        with self._alone():
            self._continue(directory, folder)

    def _alone(self) -> AbstractContextManager[None]:
        """Keep other runs out of the folder while inside."""
        if self.directory is None or not self.accelerator.is_main_process:
            return nullcontext()
        return locked(self.directory, "training")

    def _continue(self, directory: Path, folder: Path) -> None:
        """Read the newest checkpoint, if there is one, and put the folder in order."""
        held_out = None if self.validation is None else self.validation.examples
        found, complaints = checkpoint.latest(folder)
        if found is not None:
            self.config = self.learner.config = identity.continued(self.config, found)
        self._identity = identity.describe(self.config, self.transport, self.data, held_out)
        if found is not None:
            identity.belongs(found, self._identity)
            self.step = found.state["step"]
            self.learner.load(found.tensors)
            if self.best is not None:
                self.best.load(found.tensors["best"], found.state["best"])
            self.learner.window.values = found.state["window"]
            self._validation_loss = found.state["validation_loss"]
            self._watch.before = found.state["elapsed_s"]
        self.accelerator.wait_for_everyone()  # all have read before anything changes
        if not self.accelerator.is_main_process:
            return
        self.log = RunLog(directory, active=True, config=self.config)
        self.log.forget_after(self.step)
        if found is None:
            checkpoint.prune(folder, self.config.keep)
            return
        for complaint in complaints:
            self.log.line(f"{complaint} Using {found.path.name} instead.", logging.WARNING)
        found = checkpoint.adopt(found)
        checkpoint.set_aside(folder, after=self.step)
        checkpoint.prune(folder, self.config.keep)
        self._publish(directory)
        self.log.line(f"continuing from {found.path}")
        for text in identity.differences(found, self._identity, self.accelerator.num_processes):
            self.log.line(text, logging.WARNING)


doors.guard(__name__)
