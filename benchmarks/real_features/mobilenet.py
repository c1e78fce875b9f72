"""MobileNetV2 without its classifier, as torch modules whose names are those of the packaged state dict."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

STRIDE = 32
"""Pixels of a frame, along each side, that one feature vector covers."""
WIDTH = 1280
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of the first block (MobileNetV2, arXiv 1801.04381, table 2)."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _convolution(inside: int, outside: int, size: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = (size - 1) // 2
    return [nn.Conv2d(inside, outside, size, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outside)]


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; added to what came in where shapes allow."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        expand = [*_convolution(inside, wide), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_convolution(wide, wide, 3, stride, wide), nn.ReLU6()]
        self.conv = nn.Sequential(*expand, *depthwise, *_convolution(wide, outside))
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """float32 [N, 3, H, W] -> [N, 1280, H / 32, W / 32]."""

    def __init__(self) -> None:
        super().__init__()
        inside = 32
        layers: list[nn.Module] = [nn.Sequential(*_convolution(3, inside, 3, 2), nn.ReLU6())]
        for expansion, outside, blocks, stride in STAGES:
            for i in range(blocks):
                layers.append(Bottleneck(inside, outside, stride if i == 0 else 1, expansion))
                inside = outside
        layers.append(nn.Sequential(*_convolution(inside, WIDTH), nn.ReLU6()))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


def load(path: Path) -> MobileNetV2:
    """Every weight of the file has its place, and every place its weight."""
    network = MobileNetV2()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


@torch.no_grad()
def frame_features(network: MobileNetV2, frames: Tensor) -> Tensor:
    """uint8 [F, 32 h, 32 w, 3] -> float32 [F, h * w, 1280], a vector a token."""
    mean, std = (torch.tensor(one, dtype=torch.float32, device="cpu") for one in (MEAN, STD))
    pixels = rearrange((frames.float() / 255 - mean) / std, "f h w c -> f c h w")
    return torch.cat([rearrange(network(one[None]), "f d h w -> f (h w) d") for one in pixels])
