"""The embedded network: small, its weights ship inside the package.

A residual network for 64-pixel pictures (He et al., 2016, basic blocks), 256-D codes, trained by
`pipelines/pretrain_embedded.py` on pictures which that script draws: no photographs, no downloads.
"""

from __future__ import annotations

import torch
from torch import nn

from tlfeatures.backbones._preprocessing import Preprocessing

WIDTHS = (32, 64, 128, 256)
N_GLYPHS = 96  # classes of drawn stroke shapes
N_TEXTURES = 64  # classes of drawn textures
PREPROCESSING = Preprocessing(
    resize=64, input_size=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; halves the side when `stride` is 2."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (n, width_in, H, W) to (n, width, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        answer: torch.Tensor = self.relu2(y + self.shortcut(x))
        return answer


class EmbeddedNet(nn.Module):
    """Stem, four residual blocks, global average pooling, one fully connected layer."""

    def __init__(self, num_classes: int = N_GLYPHS + N_TEXTURES) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = BasicBlock(WIDTHS[0], WIDTHS[0], 1)
        self.layer2 = BasicBlock(WIDTHS[0], WIDTHS[1], 2)
        self.layer3 = BasicBlock(WIDTHS[1], WIDTHS[2], 2)
        self.layer4 = BasicBlock(WIDTHS[2], WIDTHS[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[3], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (n, num_classes) of pictures (n, 3, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        scores: torch.Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return scores


def make_embedded(num_classes: int = N_GLYPHS + N_TEXTURES) -> EmbeddedNet:
    """The embedded network with untrained weights (He initialisation)."""
    network = EmbeddedNet(num_classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
