"""The networks of benchmarks/torch_step.py in PyTorch: two parsers and the translator.

They have the layers of `faceparse_jax.models.bisenet` with ResNet-18, by the names of the public
code, and of `faceparse_jax.models.pix2pix`, by its own names.
"""

import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 19


class ConvNorm(nn.Module):
    def __init__(self, into, out, size=3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(into, out, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    """A basic block of a residual network."""

    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or into != out:
            conv = nn.Conv2d(into, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(shortcut + self.bn2(self.conv2(x)), inplace=True)


class ResNet18(nn.Module):
    """The trunk; returns the features at 1/8, 1/16 and 1/32."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)

        def stage(into, out, stride):
            return nn.Sequential(Block(into, out, stride), Block(out, out, 1))

        self.layer1, self.layer2 = stage(64, 64, 1), stage(64, 128, 2)
        self.layer3, self.layer4 = stage(128, 256, 2), stage(256, 512, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        at8 = self.layer2(self.layer1(x))
        at16 = self.layer3(at8)
        return at8, at16, self.layer4(at16)


class Attention(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        self.conv = ConvNorm(into, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(F.adaptive_avg_pool2d(x, 1))))


class ContextPath(nn.Module):
    def __init__(self):
        super().__init__()
        self.resnet = ResNet18()
        self.arm16, self.arm32 = Attention(256, 128), Attention(512, 128)
        self.conv_head32, self.conv_head16 = ConvNorm(128, 128), ConvNorm(128, 128)
        self.conv_avg = ConvNorm(512, 128, 1)

    def forward(self, x):
        at8, at16, at32 = self.resnet(x)
        x = self.arm32(at32) + self.conv_avg(F.adaptive_avg_pool2d(at32, 1))
        up16 = self.conv_head32(F.interpolate(x, at16.shape[2:], mode="nearest"))
        x = self.arm16(at16) + up16
        return at8, self.conv_head16(F.interpolate(x, at8.shape[2:], mode="nearest")), up16


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.convblk = ConvNorm(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, spatial, context):
        x = self.convblk(torch.cat([spatial, context], 1))
        gate = self.conv2(F.relu(self.conv1(F.adaptive_avg_pool2d(x, 1))))
        return x + x * torch.sigmoid(gate)


class Head(nn.Module):
    def __init__(self, into, inner):
        super().__init__()
        self.conv = ConvNorm(into, inner)
        self.conv_out = nn.Conv2d(inner, CLASSES, 1, bias=False)

    def forward(self, x, shape):
        logits = self.conv_out(self.conv(x)).float()
        return F.interpolate(logits, shape, mode="bilinear", align_corners=True)


class BiSeNet(nn.Module):
    """The parser, with the names of the public code (zllrunning/face-parsing.PyTorch)."""

    def __init__(self):
        super().__init__()
        self.cp, self.ffm = ContextPath(), Fusion()
        self.conv_out = Head(256, 256)
        self.conv_out16, self.conv_out32 = Head(128, 64), Head(128, 64)

    def forward(self, x, auxiliary=True):
        shape = x.shape[2:]
        at8, up8, up16 = self.cp(x)
        main = self.conv_out(self.ffm(at8, up8), shape)
        if not auxiliary:
            return main
        return main, self.conv_out16(up8, shape), self.conv_out32(up16, shape)


class UNet(nn.Module):
    """The translator, from a photograph to depth in [-1, 1]."""

    def __init__(self, side, features=64):
        super().__init__()
        self.levels = 0
        while self.levels < 8 and side % 2 ** (self.levels + 1) == 0:
            self.levels += 1
        widths = [features * min(2**level, 8) for level in range(self.levels)]
        for level, width in enumerate(widths):
            plain = level in (0, self.levels - 1)
            into = widths[level - 1] if level else 3
            setattr(self, f"down{level}", nn.Conv2d(into, width, 4, 2, 1, bias=plain))
            if not plain:
                setattr(self, f"norm_down{level}", nn.BatchNorm2d(width))
            into = width if level == self.levels - 1 else 2 * width
            out = widths[level - 1] if level else 1
            setattr(self, f"up{level}", nn.ConvTranspose2d(into, out, 4, 2, 1, bias=level == 0))
            if level:
                setattr(self, f"norm_up{level}", nn.BatchNorm2d(out))

    def forward(self, x):
        skips = []
        for level in range(self.levels):
            x = getattr(self, f"down{level}")(F.leaky_relu(x, 0.2) if level else x)
            if 0 < level < self.levels - 1:
                x = getattr(self, f"norm_down{level}")(x)
            skips.append(x)
        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                x = torch.cat([skips[level], x], 1)
            x = getattr(self, f"up{level}")(F.relu(x))
            if level:
                x = getattr(self, f"norm_up{level}")(x)
        return torch.tanh(x.float())


class Networks(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.rgb, self.depth, self.translator = BiSeNet(), BiSeNet(), UNet(side)
