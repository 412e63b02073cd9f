"""One step of fine-tuning an edit, ours beside PyTorch: the same UNet, CLIP tower and loss.

    python benchmarks/edit.py [--size 64] [--batch 1] [--width 0.5] [--steps 6] [--repeat 3]

`unrolled` is one update through all steps, recomputing each in the backward pass; `single_step` is
an update at each of them. PyTorch has the loss written out the same way on diffusers' UNet and
transformers' CLIP (a tower of ViT-B/32's shape with `--width` times its width); needs `[parity]`.
"""

import argparse

from side_by_side import compare, median, peak_memory
from unet import CHANNELS

CLIP_WIDTH, CLIP_DEPTH, CLIP_HEAD, CLIP_PATCH, CLIP_SIZE, PROJECTION = 768, 12, 64, 32, 224, 512
T0 = 400


def ours(args: argparse.Namespace) -> dict:
    from functools import partial

    import jax
    import numpy as np

    from clipdiff_jax.clip.model import Clip
    from clipdiff_jax.core.compilation import jit_once
    from clipdiff_jax.data.tokenize import train_tokenizer
    from clipdiff_jax.edit.stage import EditObjective, make_stage
    from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
    from clipdiff_jax.models.clip import init_params as init_clip
    from clipdiff_jax.models.pixel import DiffusionConfig, init_params
    from clipdiff_jax.models.unet import UNetConfig
    from clipdiff_jax.pixel.model import Diffusion
    from clipdiff_jax.training.optim import OptimConfig, make_optimizer
    from clipdiff_jax.training.state import new_state
    from clipdiff_jax.training.step import make_train_step

    texts = ("a face", "a smiling face")
    unet = UNetConfig(channels=tuple(int(c * args.width) for c in CHANNELS))
    config = DiffusionConfig(unet=unet, image_size=args.size)
    base = Diffusion(config, jit_once(partial(init_params, config))(jax.random.key(0)))
    width = int(CLIP_WIDTH * args.width)
    vision = VisionTransformerConfig(
        image_size=CLIP_SIZE,
        patch_size=CLIP_PATCH,
        width=width,
        depth=CLIP_DEPTH,
        heads=width // CLIP_HEAD,
        mlp_width=4 * width,
    )
    tokenizer = train_tokenizer(texts, 520, 24)
    text = TextConfig(
        vocab_size=tokenizer.vocab_size, context_length=24, width=64, depth=1, heads=1,
        mlp_width=64, eos_token_id=tokenizer.end_id,
    )  # fmt: skip
    clip_config = CLIPConfig(vision, text, projection_dim=PROJECTION)
    clip = Clip(
        clip_config, jit_once(partial(init_clip, clip_config))(jax.random.key(1)), tokenizer
    )
    images = np.zeros((args.batch, args.size, args.size, 3), np.float32)
    batch = {"image": images, "latent": images, "index": np.zeros(args.batch, np.int32)}

    def seconds(mode: str) -> float:
        objective = EditObjective(
            source_text=texts[0], target_text=texts[1], mode=mode, t0=T0, train_steps=args.steps
        )
        stage = make_stage(objective, base, clip, images, invert=False)
        optimizer = make_optimizer(OptimConfig(clip_norm=None), 1, base.params)
        state = jit_once(lambda seed: new_state(stage, optimizer, seed, False))(0)
        step = jax.jit(make_train_step(stage, optimizer))
        return median(lambda: jax.block_until_ready(step(state, stage.frozen, batch)), args.repeat)

    # The order matters for the peak: the unrolled mode is the larger of the two.
    single = seconds("single_step")
    single_memory = peak_memory()
    return {
        "single_step": single,
        "single_step memory": single_memory,
        "unrolled": seconds("unrolled"),
        "unrolled memory": peak_memory(),
        "device": jax.devices()[0].device_kind,
    }


def pytorch(args: argparse.Namespace) -> dict:
    import torch
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    from unet import torch_unet

    from clipdiff_jax.diffusion.grids import ddim_grid
    from clipdiff_jax.diffusion.schedule import DiscreteSchedule

    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet = torch_unet(args.size, args.width).to(device)
    width = int(CLIP_WIDTH * args.width)
    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=CLIP_DEPTH,
            num_attention_heads=width // CLIP_HEAD,
            image_size=CLIP_SIZE,
            patch_size=CLIP_PATCH,
            projection_dim=PROJECTION,
        )
    )
    clip = clip.to(device).requires_grad_(False).eval()
    optimizer = torch.optim.Adam(unet.parameters(), 1e-6)
    times = ddim_grid(T0, args.steps)
    alpha_bar = torch.tensor(DiscreteSchedule().alpha_bar(times).tolist(), device=device)
    reference = torch.zeros(args.batch, 3, args.size, args.size, device=device)
    direction = functional.normalize(torch.ones(PROJECTION, device=device), dim=0)

    def embed(x):
        x = functional.interpolate(x, CLIP_SIZE, mode="bicubic", antialias=True)
        return functional.normalize(clip(x).image_embeds, dim=-1)

    def loss(generated):
        moved = functional.normalize(embed(generated) - embed(reference), dim=-1, eps=1e-7)
        cosine = moved @ direction
        return -3 * torch.log((1 + cosine) / 2).mean() + (generated - reference).abs().mean()

    def step_once(x, i):
        t = torch.full((args.batch,), int(times[i]), device=device)
        eps = unet(x, t).sample
        x0 = (x - (1 - alpha_bar[i]).sqrt() * eps) / alpha_bar[i].sqrt()
        return x0, alpha_bar[i + 1].sqrt() * x0 + (1 - alpha_bar[i + 1]).sqrt() * eps

    def update(value):
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    def unrolled():
        x = reference
        for i in range(args.steps):
            x = checkpoint(lambda x, i=i: step_once(x, i)[1], x, use_reentrant=False)
        update(loss(x))
        wait()

    def single_step():
        x = reference
        for i in range(args.steps):
            x0, x = step_once(x, i)
            update(loss(x0))
            x = x.detach()
        wait()

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    single = median(single_step, args.repeat)
    single_memory = peak_memory()
    return {
        "single_step": single,
        "single_step memory": single_memory,
        "unrolled": median(unrolled, args.repeat),
        "unrolled memory": peak_memory(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=float, default=0.5, help="share of the full channels")
    parser.add_argument("--steps", type=int, default=6)
    rows = {
        "unrolled": "s",
        "single_step": "s",
        "unrolled memory": "MiB",
        "single_step memory": "MiB",
    }
    compare(parser, ours, pytorch, rows)
