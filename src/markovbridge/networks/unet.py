"""The U-Net of diffusers for images of any size.

An adapter of `diffusers.UNet2DModel` (Ho et al., https://arxiv.org/abs/2006.11239,
appendix B, after Ronneberger et al., https://arxiv.org/abs/1505.04597), with three
repairs: the image is padded with zeros to a multiple of 2^(levels - 1) and the
output cropped, the time is passed as the float tensor 1000 t (a Python number
would become an integer), and the last convolution starts at zero.

Shapes: event (C, H, W); features (B, features, C, H, W) to (B, outputs, C, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.networks.base import Network
from markovbridge.networks.embedding import TIME_SCALE, ConditionEmbedding


class UNet(Network):
    """U-Net on images; needs the `images` extra.

    Args:
        shape: Event shape (C, H, W).
        features: Numbers the process gives about each entry.
        outputs: Numbers the head asks for about each entry.
        channels: Channels of each level; every level but the last halves the image.
        layers_per_block: Residual blocks of each level.
        attention: Levels with self-attention, 0 being the full resolution. If there
            are any, the middle of the network has it too.
        dropout: Probability of zeroing a channel's entry while training.
        condition: Numbers in the condition of one sample; 0 takes none.

    Raises:
        ImportError: If diffusers is not installed.
        ValueError: If the event is not an image or a level does not exist.
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        outputs: int,
        channels: Sequence[int] = (64, 128, 128),
        layers_per_block: int = 2,
        attention: Sequence[int] = (),
        dropout: float = 0.0,
        condition: int = 0,
    ) -> None:
        super().__init__(shape, features, outputs, condition)
        if len(self.shape) != 3:
            raise ValueError(
                f"UNet needs events of shape (channels, height, width), not {self.shape}; "
                "use MLP for vectors and tables."
            )
        if not channels:
            raise ValueError("channels is empty; give one number for each level.")
        for level, count in enumerate(channels):
            checks.whole(count, f"channels[{level}]", least=2)
        for level in attention:
            if level not in range(len(channels)):
                raise ValueError(
                    f"attention names level {level!r}; "
                    f"levels run from 0 to {len(channels) - 1} for {len(channels)} channels."
                )
        checks.whole(layers_per_block, "layers_per_block", least=1)
        checks.number(dropout, "dropout", least=0, below=1)
        try:
            from diffusers.models.unets.unet_2d import UNet2DModel
        except ImportError as error:
            raise ImportError("UNet needs diffusers; run `pip install diffusers`") from error

        self.multiple = 2 ** (len(channels) - 1)
        width = 4 * channels[0]
        groups = math.gcd(32, *channels)
        down = [f"{'Attn' * (i in attention)}DownBlock2D" for i in range(len(channels))]
        self.unet = UNet2DModel(
            in_channels=features * self.shape[0],
            out_channels=outputs * self.shape[0],
            block_out_channels=tuple(channels),
            layers_per_block=layers_per_block,
            down_block_types=tuple(down),
            up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
            add_attention=bool(attention),
            attention_head_dim=None,  # one head
            norm_num_groups=groups,
            attn_norm_num_groups=groups,
            resnet_time_scale_shift="scale_shift",
            dropout=dropout,
            time_embedding_dim=width,
            class_embed_type="identity" if condition else None,
        )
        self.condition_embedding = ConditionEmbedding(condition, width)
        for parameter in self.unet.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `markovbridge.networks.base`."""
        height, width = self.shape[1:]
        rows, columns = -height % self.multiple, -width % self.multiple
        top, left = rows // 2, columns // 2
        # UNet2DModel adds its "class embedding" to the embedding of time.
        hidden = self.unet(
            functional.pad(features.flatten(1, 2), (left, columns - left, top, rows - top)),
            TIME_SCALE * t.float(),
            self.condition_embedding(condition),
        ).sample
        cropped = hidden[:, :, top : top + height, left : left + width]
        return cropped.unflatten(1, (self.outputs, self.shape[0]))


doors.guard(__name__)
