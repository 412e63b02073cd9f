"""The UNet of guided-diffusion in plain torch, written from the paper for comparison.

Its state dict has the names of the published models.
"""

import math

import torch
from torch import nn
from torch.nn import functional


class Norm(nn.GroupNorm):
    def __init__(self, channels, groups):
        super().__init__(groups, channels, eps=1e-5)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, options, resample=None):
        super().__init__()
        groups, width, self.scale_shift = options["groups"], options["time"], options["scale_shift"]
        self.resample = resample
        conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.in_layers = nn.Sequential(Norm(inputs, groups), nn.SiLU(), conv)
        factor = 2 if self.scale_shift else 1
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(width, factor * outputs))
        conv = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.out_layers = nn.Sequential(Norm(outputs, groups), nn.SiLU(), nn.Dropout(0.1), conv)
        self.skip_connection = nn.Identity()
        if inputs != outputs:
            self.skip_connection = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, emb):
        h = functional.silu(self.in_layers[0](x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.in_layers[2](h)
        time = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + time)
        return self.skip_connection(x) + h


class Attention(nn.Module):
    def __init__(self, channels, options):
        super().__init__()
        self.new_order = options["new_attention_order"]
        self.heads = options["heads"] or channels // options["head_width"]
        self.norm = Norm(channels, options["groups"])
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        pixels = x.flatten(2)
        fused = self.qkv(self.norm(pixels))
        if self.new_order:  # rows are [part, head, channel]
            q, k, v = fused.unflatten(1, (3, self.heads, -1)).unbind(1)
        else:  # rows are [head, part, channel]
            q, k, v = fused.unflatten(1, (self.heads, 3, -1)).unbind(2)
        weights = (torch.einsum("bhct,bhcs->bhts", q, k) / math.sqrt(q.shape[2])).softmax(-1)
        h = torch.einsum("bhts,bhcs->bhct", weights, v).flatten(1, 2)
        return x + self.proj_out(h).view_as(x)


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, emb):
        return self.conv(twice(x))


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, emb):
        return self.op(x)


class Convolution(nn.Conv2d):
    def forward(self, x, emb):
        return super().forward(x)


def twice(x):
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def half(x):
    return functional.avg_pool2d(x, 2)


class GuidedUNet(nn.Module):
    """`attention` holds levels; `heads` takes precedence over `head_width`, as in the original."""

    def __init__(
        self, width=8, multipliers=(1, 2), blocks=1, attention=(1,), head_width=8, heads=None,
        new_attention_order=False, scale_shift=True, residual_resampling=True, classes=None,
        inputs=3, outputs=6, groups=4,
    ):  # fmt: skip
        super().__init__()
        self.width = width
        options = {
            "groups": groups, "time": 4 * width, "scale_shift": scale_shift, "heads": heads,
            "head_width": head_width, "new_attention_order": new_attention_order,
        }  # fmt: skip
        time = [nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)]
        self.time_embed = nn.Sequential(*time)
        self.label_emb = None if classes is None else nn.Embedding(classes, 4 * width)

        channels = [int(width * multiplier) for multiplier in multipliers]
        last = len(channels) - 1
        now, skips = channels[0], [channels[0]]
        down = [[Convolution(inputs, now, 3, padding=1)]]
        for level, new in enumerate(channels):
            for _ in range(blocks):
                down.append([Residual(now, new, options)])
                if level in attention:
                    down[-1].append(Attention(new, options))
                now = new
                skips.append(now)
            if level < last:
                residual = residual_resampling
                down.append([Residual(now, now, options, half) if residual else Downsample(now)])
                skips.append(now)
        middle = [Residual(now, now, options), Attention(now, options), Residual(now, now, options)]
        up = []
        for level, new in reversed(list(enumerate(channels))):
            for i in range(blocks + 1):
                up.append([Residual(now + skips.pop(), new, options)])
                now = new
                if level in attention:
                    up[-1].append(Attention(now, options))
                if level > 0 and i == blocks:
                    residual = residual_resampling
                    up[-1].append(Residual(now, now, options, twice) if residual else Upsample(now))
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, down))
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, up))
        conv = nn.Conv2d(now, outputs, 3, padding=1)
        self.out = nn.Sequential(Norm(now, groups), nn.SiLU(), conv)

    def forward(self, x, t, classes=None):
        half_width = self.width // 2
        frequencies = torch.exp(-math.log(10_000) * torch.arange(half_width) / half_width)
        angles = t[:, None].float() * frequencies
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if self.label_emb is not None:
            emb = emb + self.label_emb(classes)
        h, skips = x, []
        for block in self.input_blocks:
            for layer in block:
                h = layer(h, emb)
            skips.append(h)
        for layer in self.middle_block:
            h = layer(h, emb)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            for layer in block:
                h = layer(h, emb)
        return self.out(h)
