"""Networks: from standardised features, a time and a condition to a head's parameters."""

from markovbridge.networks.attention import Attention
from markovbridge.networks.base import Network
from markovbridge.networks.fourier import FourierOperator
from markovbridge.networks.images import Images
from markovbridge.networks.mlp import MLP
from markovbridge.networks.unet import UNet

__all__ = ["MLP", "Attention", "FourierOperator", "Images", "Network", "UNet"]
