"""The UNet of DDPM in plain torch, written from the method's description for comparison.

Its state dict has the names of the published `.ckpt` files.
"""

import math

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self, inputs, outputs, time, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, emb):
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.temb_proj(functional.silu(emb))[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, width, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (part(h).flatten(2) for part in (self.q, self.k, self.v))
        weights = torch.softmax(q.transpose(1, 2) @ k * x.shape[1] ** -0.5, dim=-1)
        return x + self.proj_out((v @ weights.transpose(1, 2)).view_as(x))


class Down(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x):
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    def __init__(self, sizes, time, groups, attention):
        super().__init__()
        self.block = nn.ModuleList(Residual(a, b, time, groups) for a, b in sizes)
        self.attn = nn.ModuleList(Attention(b, groups) for _, b in sizes if attention)

    def run(self, index, x, emb):
        x = self.block[index](x, emb)
        return self.attn[index](x) if len(self.attn) else x


class DDPM(nn.Module):
    """`channels` of each level, `blocks` residual blocks each, attention at levels `attention`."""

    def __init__(self, channels, blocks, attention, groups, inputs=3, outputs=3):
        super().__init__()
        self.base, time, last = channels[0], 4 * channels[0], len(channels) - 1
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(self.base, time), nn.Linear(time, time)])
        self.conv_in = nn.Conv2d(inputs, self.base, 3, padding=1)
        skips, width = [self.base], self.base
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, wide in enumerate(channels):
            sizes = [(width if i == 0 else wide, wide) for i in range(blocks)]
            self.down.append(Level(sizes, time, groups, level in attention))
            skips += blocks * [wide]
            if level < last:
                self.down[level].downsample = Down(wide)
                skips.append(wide)
            width = wide
        self.mid = nn.Module()
        self.mid.block_1 = Residual(width, width, time, groups)
        self.mid.attn_1 = Attention(width, groups)
        self.mid.block_2 = Residual(width, width, time, groups)
        ups = []
        for level in reversed(range(len(channels))):
            wide, sizes = channels[level], []
            for _ in range(blocks + 1):
                sizes.append((width + skips.pop(), wide))
                width = wide
            ups.append(Level(sizes, time, groups, level in attention))
            if level:
                ups[-1].upsample = Up(wide)
        self.up.extend(reversed(ups))
        self.norm_out = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, x, t):
        half = self.base // 2
        angles = t[:, None] * torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        emb = torch.cat([angles.sin(), angles.cos()], dim=1)
        emb = self.temb.dense[1](functional.silu(self.temb.dense[0](emb)))
        h = self.conv_in(x)
        skips = [h]
        for level in self.down:
            for i in range(len(level.block)):
                h = level.run(i, h, emb)
                skips.append(h)
            if hasattr(level, "downsample"):
                h = level.downsample(h)
                skips.append(h)
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h, emb)), emb)
        for level in reversed(self.up):
            for i in range(len(level.block)):
                h = level.run(i, torch.cat([h, skips.pop()], dim=1), emb)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        return self.conv_out(functional.silu(self.norm_out(h)))
