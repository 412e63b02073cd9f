"""Writes the Karlo reference: tiny pipelines with random weights, what they drew and made.

    python tests/references/make_karlo.py        (needs torch, diffusers and transformers)

`karlo_tiny.npz` has `file/<path>` (bytes of the JSON and text files of a folder in the hub's
layout), `tensor/<component>/<name>`, `noise/<stage>/start|steps` (NHWC), `image`, and the results
`embedding`, `small`, `generated`, `varied`. The folder holds the components of both pipelines.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import PriorTransformer, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
from diffusers.pipelines.deprecated.unclip import (
    UnCLIPImageVariationPipeline,
    UnCLIPPipeline,
    UnCLIPTextProjModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

HERE = Path(__file__).parent
PROMPTS = ["a cat", "b"]
STEPS = {"prior": 3, "decoder": 4, "upsampler": 4}  # with fewer all pixels are -1 or 1
WIDTH, LENGTH, SIZE, LARGE = 16, 9, 16, 32

PRIOR = {
    "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "embedding_dim": WIDTH,
    "num_embeddings": LENGTH,
}  # fmt: skip
DECODER = {
    "sample_size": SIZE, "in_channels": 3, "out_channels": 6, "block_out_channels": (8, 16),
    "layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 4, "cross_attention_dim": 12,
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "class_embed_type": "identity", "resnet_time_scale_shift": "scale_shift",
}  # fmt: skip
TEXT_PROJ = {
    "clip_embeddings_dim": WIDTH, "time_embed_dim": 32, "cross_attention_dim": 12,
    "clip_extra_context_tokens": 4,
}  # fmt: skip
UPSAMPLER = {
    "sample_size": LARGE, "in_channels": 6, "out_channels": 3, "block_out_channels": (4, 8),
    "layers_per_block": 1, "norm_num_groups": 4, "add_attention": False,
    "down_block_types": 2 * ("ResnetDownsampleBlock2D",),
    "up_block_types": 2 * ("ResnetUpsampleBlock2D",),
}  # fmt: skip
TOWER = {
    "hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "projection_dim": WIDTH,
}  # fmt: skip
SCHEDULERS = {
    "prior_scheduler": ("sample", "fixed_small_log", 5.0),
    "decoder_scheduler": ("epsilon", "learned_range", 1.0),
    "super_res_scheduler": ("epsilon", "fixed_small_log", 1.0),
}
PREPROCESSOR = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}


def stirred(model, seed: int):
    """The model with random numbers in every parameter, so that none is without effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def random_prior(seed: int, **changes) -> PriorTransformer:
    torch.manual_seed(seed)
    return stirred(PriorTransformer(**(PRIOR | changes)), seed)


def random_decoder(seed: int, **changes) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return stirred(UNet2DConditionModel(**(DECODER | changes)), seed)


def random_text_proj(seed: int, **changes) -> UnCLIPTextProjModel:
    torch.manual_seed(seed)
    return stirred(UnCLIPTextProjModel(**(TEXT_PROJ | changes)), seed)


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def document_of(model) -> dict:
    return json.loads(model.to_json_string())


def write_folder(folder: Path, pipeline: str = "UnCLIPPipeline") -> dict:
    """Writes a tiny model in the hub's layout, with the parts of both pipelines; returns them."""
    torch.manual_seed(0)
    marks = ["<|startoftext|>", "<|endoftext|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(char + "</w>" for char in alphabet), *marks]
    (folder / "tokenizer").mkdir(parents=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    files = {
        "vocab.json": json.dumps(vocabulary),
        "merges.txt": "#version: 0.2\n",
        "tokenizer_config.json": json.dumps(
            {
                "model_max_length": LENGTH, "pad_token": tokens[0], "bos_token": marks[0],
                "eos_token": marks[1], "unk_token": marks[1], "tokenizer_class": "CLIPTokenizer",
            }
        ),
    }  # fmt: skip
    for name, text in files.items():
        (folder / "tokenizer" / name).write_text(text)
    text = CLIPTextConfig(
        **TOWER, vocab_size=len(tokens), max_position_embeddings=LENGTH, eos_token_id=2,
        bos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    vision = CLIPVisionConfig(**TOWER, image_size=16, patch_size=8)
    first, last = (stirred(UNet2DModel(**UPSAMPLER), seed) for seed in (4, 5))
    parts = {
        "text_encoder": stirred(CLIPTextModelWithProjection(text), 0),
        "image_encoder": stirred(CLIPVisionModelWithProjection(vision), 1),
        "prior": random_prior(2), "decoder": random_decoder(3), "text_proj": random_text_proj(3),
        "super_res_first": first, "super_res_last": last,
    }  # fmt: skip
    for name, (prediction, variance, bound) in SCHEDULERS.items():
        parts[name] = UnCLIPScheduler(
            prediction_type=prediction, variance_type=variance, clip_sample_range=bound
        )
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    parts["tokenizer"] = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return parts


def draw(seed: int, count: int) -> dict[str, dict[str, np.ndarray]]:
    """start [B, ...] and steps [S, B, ...] of each stage; the last step uses none."""
    rng = np.random.default_rng(seed)
    shapes = {"prior": (WIDTH,), "decoder": (SIZE, SIZE, 3), "upsampler": (LARGE, LARGE, 3)}
    noise = {}
    for stage, shape in shapes.items():
        every = rng.normal(size=(STEPS[stage] + 1, count, *shape)).astype(np.float32)
        every[-1] = 0
        noise[stage] = {"start": every[0], "steps": every[1:]}
    return noise


def nchw(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.moveaxis(array, -1, 1) if array.ndim == 4 else array)


class Fixed(UnCLIPScheduler):
    """The scheduler with its noise given: a list that each step takes its own from."""

    def step(self, model_output, timestep, sample, prev_timestep=None, **_):
        import diffusers.schedulers.scheduling_unclip as module

        z, drawn = self.steps.pop(0), module.randn_tensor
        module.randn_tensor = lambda shape, **_: z
        try:
            return super().step(model_output, timestep, sample, prev_timestep)
        finally:
            module.randn_tensor = drawn


def fixed(name: str, steps: np.ndarray) -> Fixed:
    prediction, variance, bound = SCHEDULERS[name]
    made = Fixed(prediction_type=prediction, variance_type=variance, clip_sample_range=bound)
    made.steps = [nchw(z) for z in steps]
    return made


def schedulers(noise: dict) -> dict:
    stages = {"prior": "prior", "decoder": "decoder", "super_res": "upsampler"}
    return {
        f"{ours}_scheduler": fixed(f"{ours}_scheduler", noise[theirs]["steps"])
        for ours, theirs in stages.items()
    }


def generate(parts: dict, noise: dict, prompts=PROMPTS, guidance: float = 3.0) -> dict:
    """diffusers' text to image, with what it made on the way; images NHWC in [-1, 1]."""
    names = ("prior", "decoder", "text_encoder", "tokenizer", "text_proj", "super_res_first",
             "super_res_last")  # fmt: skip
    pipeline = UnCLIPPipeline(**{name: parts[name] for name in names}, **schedulers(noise))
    pipeline.set_progress_bar_config(disable=True)
    seen = {}
    parts["text_proj"].register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(embedding=kwargs["image_embeddings"].numpy()),
        with_kwargs=True,
    )
    hook = parts["super_res_first"].register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(enlarged=kwargs["sample"][:, 3:].numpy()),
        with_kwargs=True,
    )
    image = pipeline(
        list(prompts), prior_num_inference_steps=STEPS["prior"],
        decoder_num_inference_steps=STEPS["decoder"],
        super_res_num_inference_steps=STEPS["upsampler"], prior_guidance_scale=2.0,
        decoder_guidance_scale=guidance, output_type="np", return_dict=False,
        prior_latents=nchw(noise["prior"]["start"]),
        decoder_latents=nchw(noise["decoder"]["start"]),
        super_res_latents=nchw(noise["upsampler"]["start"]),
    )[0]  # fmt: skip
    hook.remove()
    enlarged = np.moveaxis(seen["enlarged"], 1, -1)
    return {"embedding": seen["embedding"], "enlarged": enlarged, "generated": 2 * image - 1}


def vary(parts: dict, noise: dict, image: np.ndarray, guidance: float = 3.0) -> np.ndarray:
    """diffusers' image variations of an image NHWC in [-1, 1] that is as large as the tower's."""
    names = ("decoder", "text_encoder", "tokenizer", "text_proj", "image_encoder",
             "super_res_first", "super_res_last")  # fmt: skip
    steps = {k: v for k, v in schedulers(noise).items() if k != "prior_scheduler"}
    pipeline = UnCLIPImageVariationPipeline(
        **{name: parts[name] for name in names}, **steps, feature_extractor=None
    )
    pipeline.set_progress_bar_config(disable=True)
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
    made = pipeline(
        nchw((image / 2 + 0.5 - mean) / std), num_images_per_prompt=len(noise["decoder"]["start"]),
        decoder_num_inference_steps=STEPS["decoder"],
        super_res_num_inference_steps=STEPS["upsampler"], decoder_guidance_scale=guidance,
        decoder_latents=nchw(noise["decoder"]["start"]),
        super_res_latents=nchw(noise["upsampler"]["start"]), output_type="np", return_dict=False,
    )[0]  # fmt: skip
    return 2 * made - 1


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        parts = write_folder(folder)
        texts = [p for p in folder.rglob("*") if p.suffix in (".json", ".txt")]
        arrays = {
            f"file/{p.relative_to(folder)}": np.frombuffer(p.read_bytes(), np.uint8) for p in texts
        }
        for name, part in parts.items():
            if hasattr(part, "state_dict"):
                arrays |= {f"tensor/{name}/{n}": a for n, a in state_of(part).items()}
    noise = draw(1, len(PROMPTS))
    arrays |= {f"noise/{s}/{n}": a for s, both in noise.items() for n, a in both.items()}
    image = np.random.default_rng(2).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    results = generate(parts, noise)
    varied = vary(parts, noise, image)
    np.savez_compressed(HERE / "karlo_tiny.npz", **arrays, **results, image=image, varied=varied)


if __name__ == "__main__":
    main()
