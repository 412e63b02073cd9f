"""Writes ledits.npz: where diffusers' pipeline of LEDITS++ arrives.

    python tests/references/make_ledits.py        (needs torch and diffusers)

A tiny random network that attends at a quarter of the latents' side, as Stable Diffusion does;
pictures are latents and texts embeddings, so that neither autoencoder nor tokenizer is needed. For
each case of `CASES` the UNet's `config` and `state/<name>`, its inputs, and `final`; NHWC.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import torch
from diffusers.pipelines.ledits_pp import pipeline_leditspp_stable_diffusion as published
from make_latent import SD1, document_of, state_of, unet
from make_latent_walks import SCHEDULER

HERE = Path(__file__).parent
STEPS, SKIP, SIDE, TOKENS = 6, 0.34, 8, 7
COUNTS = (2, 3)  # tokens of each concept
CROSS = dict(
    block_out_channels=(8, 8, 8),
    down_block_types=("CrossAttnDownBlock2D",) * 3,
    up_block_types=("CrossAttnUpBlock2D",) * 3,
)
CASES = {
    "masked": dict(use_cross_attn_mask=True, use_intersect_mask=True),
    "anywhere": dict(use_cross_attn_mask=False, use_intersect_mask=False),
}


class Scheduler(diffusers.DDIMScheduler):
    """The pipeline hands over times as floats, which do not index."""

    def add_noise(self, original_samples, noise, timesteps):
        return super().add_noise(original_samples, noise, timesteps.long())


class Bare(published.LEditsPPPipelineStableDiffusion):
    """The pipeline on latents and embeddings."""

    device = torch.device("cpu")
    maybe_free_model_hooks = lambda self: None

    def __init__(self, network, scheduler, inputs):
        self.register_modules(unet=network, scheduler=scheduler)
        self.inputs, self.text_encoder = inputs, SimpleNamespace(dtype=torch.float32)
        self.inversion_steps = None
        picture = lambda latents, **options: (latents,)
        self.vae = SimpleNamespace(
            config=SimpleNamespace(scaling_factor=1.0, sample_size=SIDE), decode=picture
        )
        self.image_processor = SimpleNamespace(postprocess=lambda image, **options: image)
        self.set_progress_bar_config(disable=True)

    def encode_image(self, image, **options):
        return image, image

    def encode_prompt(self, *args, editing_prompt=None, **options):
        texts = (
            self.inputs["source"] if isinstance(editing_prompt, str) else self.inputs["concepts"]
        )
        return texts, self.inputs["null"], list(COUNTS)


def run(name: str, seed: int) -> dict[str, np.ndarray]:
    """The UNet's state, the inputs, and the latents at the end."""
    network = unet(seed, **SD1 | CROSS)
    scheduler = Scheduler(**SCHEDULER)
    generator = torch.Generator().manual_seed(seed + 2)
    normal = lambda *shape: torch.randn(shape, generator=generator)
    width = network.config.cross_attention_dim
    inputs = {
        "null": normal(1, TOKENS, width),
        "source": normal(1, TOKENS, width),
        "concepts": normal(len(COUNTS), TOKENS, width),
        "picture": normal(1, 4, SIDE, SIDE),
        "noise": normal(STEPS, 1, 4, SIDE, SIDE),  # the noisiest first
    }
    drawn = iter(inputs["noise"].flip(0))
    published.randn_tensor = lambda **options: next(drawn)
    pipe = Bare(network, scheduler, inputs)
    with torch.no_grad():
        pipe.invert(
            inputs["picture"], source_prompt="a picture" if name == "masked" else "",
            num_inversion_steps=STEPS, skip=SKIP,
        )  # fmt: skip
        final = pipe(
            editing_prompt=["one", "other"], edit_guidance_scale=[5.0, 7.0], edit_threshold=0.7,
            edit_warmup_steps=1, reverse_editing_direction=[False, True], output_type="latent",
            **CASES[name],
        ).images  # fmt: skip
    nhwc = {"picture": inputs["picture"].permute(0, 2, 3, 1), "final": final.permute(0, 2, 3, 1)}
    nhwc["noise"] = inputs["noise"].permute(0, 1, 3, 4, 2)
    state = {f"state/{k}": v for k, v in state_of(network).items()}
    config = {"config": np.array(json.dumps(document_of(network)))}
    return state | config | {k: v.numpy() for k, v in (inputs | nhwc).items()}


def main() -> None:
    arrays = {
        f"{name}/{k}": v for i, name in enumerate(CASES) for k, v in run(name, 10 * i).items()
    }
    np.savez_compressed(HERE / "ledits.npz", **arrays)


if __name__ == "__main__":
    main()
