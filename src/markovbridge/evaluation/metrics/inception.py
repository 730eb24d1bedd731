"""Inception-v3 as FID uses it: the only extractor whose Fréchet distance is called FID.

Szegedy et al. 2015, https://arxiv.org/abs/1512.00567; FID is Heusel et al. 2017,
https://arxiv.org/abs/1706.08500. FID means the TensorFlow release of 2015-12-05,
whose weights the project pytorch-fid converted to the file
`pt_inception-2015-12-05-6726825d.pth` (the name ends in the first digits of its
sha256, which are verified). That network differs from other Inception-v3 in
three ways, all kept here: 1,008 classes; average pooling that leaves padding out
of the average; and a *max* pooling in the last mixed block. Input: values in
[-1, 1], scaled bilinearly to 299 x 299. Output: the 2,048 spatial averages.

State of checks: the names and shapes of all weights, the parameter count and the
shapes of all stages are tested; with the same random weights the features equal
those of pytorch-fid 0.3.0's network to the last bit. The real weights are not
redistributed here and no published FID was reproduced with them: compare with one
before you quote a figure beside a paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from markovbridge import doors
from markovbridge.evaluation.metrics.extractors import (
    Extractor,
    images_to_rgb,
    load_weights,
    run_in_batches,
)

SHA256 = "6726825d"
REMEDY = (
    "get pt_inception-2015-12-05-6726825d.pth from the releases of github.com/mseitzer/pytorch-fid"
)

# A layer is its name, output channels and kernel (height, width). A branch is a chain of
# stages; the layers of one stage run side by side and their outputs are joined.
Layer = tuple[str, int, tuple[int, int]]
Branch = Sequence[Sequence[Layer]]


@final
class _ConvNormReLU(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int, padded: bool
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H', W')`."""
        return functional.relu(self.bn(self.conv(x)))


@final
class _Mixed(nn.Module):
    """Branches side by side, joined over channels.

    Args:
        inputs: Input channels.
        branches: Each a chain of stages.
        pool: Channels of the 1x1 convolution after the pooling branch; None for the
            reducing blocks, which halve the size: the last layer of each branch and the
            pooling take strides of 2 without padding.
        maximum: Whether a block that keeps the size pools by maximum instead of average.
    """

    def __init__(
        self, inputs: int, branches: Sequence[Branch], pool: int | None, maximum: bool = False
    ) -> None:
        super().__init__()
        self.reducing = pool is None
        self.maximum = maximum
        self.branches = branches
        self.channels = pool or inputs
        for branch in branches:
            channels = inputs
            for stage, layers in enumerate(branch):
                last = self.reducing and stage == len(branch) - 1
                for name, outputs, kernel in layers:
                    layer = _ConvNormReLU(channels, outputs, kernel, 2 if last else 1, not last)
                    self.add_module(name, layer)
                channels = sum(outputs for _, outputs, _ in layers)
            self.channels += channels
        if pool is not None:
            self.branch_pool = _ConvNormReLU(inputs, pool, (1, 1), 1, True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, channels, H', W')`."""
        outputs = []
        for branch in self.branches:
            value = x
            for layers in branch:
                value = torch.cat([self.get_submodule(name)(value) for name, *_ in layers], 1)
            outputs.append(value)
        if self.reducing:
            outputs.append(functional.max_pool2d(x, 3, 2))
        elif self.maximum:
            outputs.append(self.branch_pool(functional.max_pool2d(x, 3, 1, 1)))
        else:
            average = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            outputs.append(self.branch_pool(average))
        return torch.cat(outputs, 1)


def chain(name: str, *layers: tuple[int, tuple[int, int]]) -> list[list[Layer]]:
    """Stages of one layer each, numbered from 1."""
    return [[(f"{name}_{i}", outputs, kernel)] for i, (outputs, kernel) in enumerate(layers, 1)]


def split(name: str) -> list[Layer]:
    """A 3x3 convolution as a 1x3 beside a 3x1."""
    return [(f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))]


def block_a(inputs: int, pool: int) -> _Mixed:
    """35 x 35: 1x1, 5x5 and two 3x3 (figure 5 of the paper)."""
    branches = [
        [[("branch1x1", 64, (1, 1))]],
        chain("branch5x5", (48, (1, 1)), (64, (5, 5))),
        chain("branch3x3dbl", (64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
    ]
    return _Mixed(inputs, branches, pool)


def block_b(inputs: int) -> _Mixed:
    """35 x 35 to 17 x 17 (figure 10)."""
    branches = [
        [[("branch3x3", 384, (3, 3))]],
        chain("branch3x3dbl", (64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
    ]
    return _Mixed(inputs, branches, None)


def block_c(inputs: int, width: int) -> _Mixed:
    """17 x 17: 7x7 factorised into 1x7 and 7x1 (figure 6)."""
    w = width
    branches = [
        [[("branch1x1", 192, (1, 1))]],
        chain("branch7x7", (w, (1, 1)), (w, (1, 7)), (192, (7, 1))),
        chain("branch7x7dbl", (w, (1, 1)), (w, (7, 1)), (w, (1, 7)), (w, (7, 1)), (192, (1, 7))),
    ]
    return _Mixed(inputs, branches, 192)


def block_d(inputs: int) -> _Mixed:
    """17 x 17 to 8 x 8."""
    branches = [
        chain("branch3x3", (192, (1, 1)), (320, (3, 3))),
        chain("branch7x7x3", (192, (1, 1)), (192, (1, 7)), (192, (7, 1)), (192, (3, 3))),
    ]
    return _Mixed(inputs, branches, None)


def block_e(inputs: int, maximum: bool) -> _Mixed:
    """8 x 8: 3x3 split into 1x3 beside 3x1 (figure 7)."""
    branches = [
        [[("branch1x1", 320, (1, 1))]],
        [*chain("branch3x3", (384, (1, 1))), split("branch3x3_2")],
        [*chain("branch3x3dbl", (448, (1, 1)), (384, (3, 3))), split("branch3x3dbl_3")],
    ]
    return _Mixed(inputs, branches, 192, maximum)


@final
class InceptionNetwork(nn.Module):
    """FID's Inception-v3 up to its 2,048 pooled features; without weights of its own.

    The classifier `fc` is part of the file and is loaded, but features do not use it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _ConvNormReLU(3, 32, (3, 3), 2, False)
        self.Conv2d_2a_3x3 = _ConvNormReLU(32, 32, (3, 3), 1, False)
        self.Conv2d_2b_3x3 = _ConvNormReLU(32, 64, (3, 3), 1, True)
        self.Conv2d_3b_1x1 = _ConvNormReLU(64, 80, (1, 1), 1, False)
        self.Conv2d_4a_3x3 = _ConvNormReLU(80, 192, (3, 3), 1, False)
        self.Mixed_5b = block_a(192, 32)
        self.Mixed_5c = block_a(256, 64)
        self.Mixed_5d = block_a(288, 64)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b = block_c(768, 128)
        self.Mixed_6c = block_c(768, 160)
        self.Mixed_6d = block_c(768, 160)
        self.Mixed_6e = block_c(768, 192)
        self.Mixed_7a = block_d(768)
        self.Mixed_7b = block_e(1280, maximum=False)
        self.Mixed_7c = block_e(2048, maximum=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, 2048)` of RGB images `(B, 3, 299, 299)` in [-1, 1]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))


@final
class Inception(Extractor):
    """The extractor of FID: images to 2,048 features.

    Args:
        path: A local pt_inception-2015-12-05-6726825d.pth; its sha256 is verified. Nothing
            is downloaded.
        maximum: The value of white: 255 for 8-bit images.
        batch: Images per call.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is another file or damaged.
    """

    def __init__(self, path: str | Path, *, maximum: int = 255, batch: int = 32) -> None:
        if maximum < 1 or batch < 1:
            raise ValueError(f"maximum and batch must be at least 1, got {maximum} and {batch}")
        self.network = InceptionNetwork()
        self.network.load_state_dict(load_weights(path, SHA256, REMEDY))
        self.name = "Inception-v3 (2015-12-05)"
        self.weights = f"sha256:{SHA256}"
        self.maximum, self.batch = maximum, batch
        self.identity = f"{self.name}, sha256:{SHA256}, white {maximum}"

    def __call__(self, x: Tensor) -> Tensor:
        """Features `(N, 2048)` float32 of integer images `(N, 1 or 3, H, W)`."""
        return run_in_batches(self.network, x, self.batch, self._prepare)

    def _prepare(self, x: Tensor) -> Tensor:
        x = images_to_rgb(x, self.maximum)
        x = functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        return 2 * x - 1


doors.guard(
    __name__, inside=("block_a", "block_b", "block_c", "block_d", "block_e", "chain", "split")
)
