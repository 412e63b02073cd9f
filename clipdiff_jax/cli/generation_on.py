"""What `clipdiff generate` takes on a target: each of its programs for one batch, on one device.

The command computes on one device; others are other processes, each with pictures of its own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from clipdiff_jax.core.types import as_dtype
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.latent.outline import outline_latent
from clipdiff_jax.latent.requests import Generation
from clipdiff_jax.pictures.records import request_of
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.pixel.outline import outline_diffusion
from clipdiff_jax.training.targets.compilers import devices_of
from clipdiff_jax.training.targets.names import Target
from clipdiff_jax.training.targets.report import duration, lines_of, numbers_of
from clipdiff_jax.training.targets.study import Study, study
from clipdiff_jax.unclip.drawing import Drawing
from clipdiff_jax.unclip.model import UPSAMPLERS, UnClip
from clipdiff_jax.unclip.outline import outline_unclip

# (name, function, its arguments as shapes): one program each, as the command runs them.
Program = tuple[str, Callable[..., Any], tuple[Any, ...]]
Model = Diffusion | UnClip | LatentDiffusion
PROMPT = "a face"


def study_on(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    """A batch of a request of `clipdiff generate`, as text and as numbers.

    The request: "model", "dtype", "batch", and "sampling" or, for pictures of prompts, "drawing"
    by an unCLIP, "painting" by a latent model.
    """
    count, dtype = request["batch"], as_dtype(request["dtype"])
    if "drawing" in request:
        unclip = outline_unclip(request["model"], dtype=dtype, param_dtype=dtype)
        drawing = request_of(Drawing, request["drawing"])
        model: Model = unclip
        programs = list(_drawing(unclip, drawing, count))
    elif "painting" in request:
        latent = outline_latent(request["model"], dtype=dtype, param_dtype=dtype)
        painting = request_of(Generation, request["painting"])
        model, programs = latent, list(_painting(latent, painting, count))
    else:
        base = outline_diffusion(request["model"], dtype=dtype)
        sampling = request_of(Sampling, request["sampling"])
        model, programs = base, [_sampling(base, sampling, count)]
    device = SingleDeviceSharding(devices_of(target)[0])
    found = {name: _study(target, device, model, run, given) for name, run, given in programs}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model))
    lines = [
        f"{target.name}: one batch of {count} pictures on one device",
        f"parameters      {parameters:,}",
    ]
    for name, one in found.items():
        lines += [f"-- {name}", *lines_of(one, "batch", ["a smaller --batch-size"])]
    return {
        "text": "\n".join([*lines, *_summary(found, count)]),
        "parameters": parameters,
        "batch": count,
        "parts": {name: numbers_of(one) for name, one in found.items()},
    }


def _summary(found: dict[str, Study], count: int) -> Iterator[str]:
    times = [one.times for one in found.values() if one.times is not None]
    if len(times) == len(found):
        least, most = (sum(getattr(t, which) for t in times) for which in ("least", "most"))
        yield (
            f"all {count} pictures  at least {duration(least)}, {duration(most)} where nothing "
            f"overlaps: at most {count / least:.3g} pictures/s a device"
        )


def _study(
    target: Target,
    device: SingleDeviceSharding,
    model: Model,
    run: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Study:
    """One program; the whole model is held while it runs."""

    def placed(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)

    held, given = jax.tree.map(placed, model), jax.tree.map(placed, arguments)
    return study(
        target,
        lambda: jax.jit(run).trace(held, *given),
        {"parameters": held, "inputs": given},
    )


def _key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))


def _sampling(base: Diffusion, sampling: Sampling, count: int) -> Program:
    def run(model: Diffusion, key: jax.Array) -> jax.Array:
        return model.generate(count, key=key, sampling=sampling)

    return "sampling", run, (_key(),)


def _painting(latent: LatentDiffusion, painting: Generation, count: int) -> Iterator[Program]:
    of_latents = painting.replace(output="latents", count=1)

    def draw(model: LatentDiffusion, key: jax.Array) -> jax.Array:
        return model.generate([PROMPT] * count, key=key, sampling=of_latents)

    drawn = jax.eval_shape(draw, latent, _key())
    yield "text towers and UNet", draw, (_key(),)
    yield "autoencoder", LatentDiffusion.decode, (drawn,)


def _drawing(unclip: UnClip, drawing: Drawing, count: int) -> Iterator[Program]:
    prompts, pixels = [PROMPT] * count, unclip.part("decoder").config.image_size
    prior = unclip.part(unclip.prior_name(drawing.prior))

    def embed(model: UnClip, key: jax.Array) -> jax.Array:
        return model.embed_prompts(prompts, key=key, sampling=drawing.of_prior)

    def decode(model: UnClip, embedding: jax.Array, key: jax.Array) -> jax.Array:
        return model.decode(embedding, prompts, key=key, sampling=drawing.of_decoder)

    network = getattr(prior.config, "network", prior.config)
    embedding = jax.ShapeDtypeStruct((count, network.embedding_width), jnp.float32)
    yield "text tower and prior", embed, (_key(),)
    yield "text tower and decoder", decode, (embedding, _key())
    for name in UPSAMPLERS:
        if name in unclip.loaded:

            def upsample(model: UnClip, x: jax.Array, key: jax.Array, name: Any = name) -> Any:
                return model.upsample(x, key=key, sampling=drawing.of_upsampler, part=name)

            image = jax.ShapeDtypeStruct((count, pixels, pixels, 3), jnp.float32)
            yield name, upsample, (image, _key())
            pixels = unclip.part(name).config.image_size
