"""The small residual networks of the CIFAR family (ResNet-8, -14, -20, -32): 6n + 2 layers, three stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(wide)
        self.second = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(wide)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or narrow != wide:
            self.shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        """(n, wide, h, w) of (n, narrow, H, W)."""
        inner = self.second_norm(self.second(relu(self.first_norm(self.first(x)))))
        return relu(inner + self.shortcut(x))


class ResNet(nn.Module):
    """`ResNet(20, channels=1)`: features are the 4 x `width` numbers before the classifier."""

    def __init__(self, depth: int, *, channels: int = 1, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a ResNet of this family has 6n + 2 layers, not {depth}")
        each = (depth - 2) // 6
        self.features = 4 * width
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks: list[nn.Module] = []
        narrow = width
        for stage in range(3):
            wide = width * 2**stage
            for number in range(each):
                blocks.append(Block(narrow, wide, 2 if stage and not number else 1))
                narrow = wide
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(narrow, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 4 x width) and logits (n, classes) of images (n, channels, h, w)."""
        pooled = self.blocks(self.stem(images)).mean(dim=(2, 3))
        return pooled, self.classifier(pooled)


def parameters(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def views(images: Tensor, generator: torch.Generator, *, shift: int = 2) -> Tensor:
    """Images (n, c, h, w) moved by up to `shift` pixels each way, half of them mirrored."""
    n, _, height, width = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, (shift,) * 4)
    moved = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=generator, device=device)
    rows = moved[0] + torch.arange(height, device=device)
    columns = moved[1] + torch.arange(width, device=device)
    mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    own = torch.arange(n, device=device).view(n, 1, 1)
    return padded[own, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
