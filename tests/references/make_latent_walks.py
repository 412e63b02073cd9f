"""Writes latent_walks.npz: where diffusers' pipelines of latent diffusion arrive.

    python tests/references/make_latent_walks.py        (needs torch and diffusers)

Tiny random networks; texts are embeddings, so that no tokenizer is needed. For each case of `CASES`
its UNet's `config` (JSON) and `state/<name>` under diffusers' names, its inputs, and `final`, where
the walk ends; arrays are NHWC.
"""

import json
from pathlib import Path
from typing import NamedTuple

import diffusers
import numpy as np
import torch
from make_autoencoder import kl
from make_latent import SD1, SD2, XL, document_of, state_of, unet

HERE = Path(__file__).parent
SCHEDULER = dict(
    beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
    set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading",
)  # fmt: skip
EULER = {k: v for k, v in SCHEDULER.items() if k not in ("clip_sample", "set_alpha_to_one")}
STEPS, SIDE, TOKENS = 4, 8, 7


class Case(NamedTuple):
    """A pipeline, its UNet, the scheduler, and what its call is given beside texts and start."""

    pipeline: str
    unet: dict
    scheduler: str
    options: dict
    prediction: str = "epsilon"


CASES = {
    "eps": Case("StableDiffusionPipeline", SD1, "DDIMScheduler", dict(guidance_scale=7.5)),
    "v": Case(
        "StableDiffusionPipeline", SD2 | dict(in_channels=4), "DDIMScheduler",
        dict(guidance_scale=5.0, guidance_rescale=0.7), "v_prediction",
    ),
    "xl": Case("StableDiffusionXLPipeline", XL, "EulerDiscreteScheduler", dict(guidance_scale=5.0)),
    "instruct": Case(
        "StableDiffusionInstructPix2PixPipeline", SD1 | dict(in_channels=8), "DDIMScheduler",
        dict(guidance_scale=7.5, image_guidance_scale=1.5),
    ),
}  # fmt: skip


def run(name: str, seed: int) -> dict[str, np.ndarray]:
    """The UNet's state, the inputs, and the latents at the end."""
    case = CASES[name]
    network = unet(seed, **case.unet)
    settings = EULER if case.scheduler.startswith("Euler") else SCHEDULER
    scheduler = getattr(diffusers, case.scheduler)(**settings, prediction_type=case.prediction)
    parts = dict(unet=network, scheduler=scheduler, vae=kl(seed + 1), text_encoder=None)
    parts |= dict(tokenizer=None)
    if name == "xl":
        parts |= dict(text_encoder_2=None, tokenizer_2=None)
    else:
        parts |= dict(safety_checker=None, feature_extractor=None)
    more = dict(add_watermarker=False) if name == "xl" else dict(requires_safety_checker=False)
    pipe = getattr(diffusers, case.pipeline)(**parts, **more)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed + 2)
    normal = lambda *shape: torch.randn(shape, generator=generator)
    width = network.config.cross_attention_dim
    inputs = {"context": normal(1, TOKENS, width), "null": normal(1, TOKENS, width)}
    call = dict(prompt_embeds=inputs["context"], negative_prompt_embeds=inputs["null"])
    if name == "xl":
        inputs |= {"pooled": normal(1, 5), "null_pooled": normal(1, 5)}
        call |= dict(pooled_prompt_embeds=inputs["pooled"])
        call |= dict(negative_pooled_prompt_embeds=inputs["null_pooled"])
    start = normal(1, 4, SIDE, SIDE)
    if name == "instruct":
        picture = normal(1, 4, SIDE, SIDE)
        inputs["picture"] = picture.permute(0, 2, 3, 1)
        call |= dict(image=picture)
    else:
        call |= dict(height=2 * SIDE, width=2 * SIDE)
    with torch.no_grad():
        final = pipe(
            latents=start.clone(), num_inference_steps=STEPS, output_type="latent", **call,
            **case.options,
        ).images  # fmt: skip
    inputs |= {"start": start.permute(0, 2, 3, 1), "final": final.permute(0, 2, 3, 1)}
    state = {f"state/{k}": v for k, v in state_of(network).items()}
    config = {"config": np.array(json.dumps(document_of(network)))}
    return state | config | {k: v.numpy() for k, v in inputs.items()}


def main() -> None:
    arrays = {
        f"{name}/{k}": v for i, name in enumerate(CASES) for k, v in run(name, 10 * i).items()
    }
    np.savez_compressed(HERE / "latent_walks.npz", **arrays)


if __name__ == "__main__":
    main()
