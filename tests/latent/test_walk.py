"""Walks arrive where diffusers does: eps, v with contrast taken back, XL, instructions."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.texts import Embedded
from clipdiff_jax.latent.walk import Rows, Walk
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.latent import WALK, LatentConfig, TextTower, init_unet
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.weights.layouts import latent_unet
from clipdiff_jax.weights.tables import import_params

TOLERANCE = 5e-4  # of the reference's largest number
STEPS = 4
CASES = {
    "eps": dict(guidance=7.5),
    "v": dict(guidance=5.0, rescale=0.7),
    "xl": dict(guidance=5.0),
    "instruct": dict(guidance=7.5, image_guidance=1.5),
}
CLEAN = OwnSampling(None, "leading", 1, True)


def final(name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Where our walk arrives, with the UNet and the inputs of a case."""
    pooled = 5 if "pooled" in arrays else None
    unet = latent_unet.read_config(json.loads(str(arrays["config"])), pooled)
    tower = TextTower(TextConfig(width=unet.context_width, heads=1), pooled)
    config = LatentConfig(
        unet=unet,
        autoencoder=AutoencoderConfig(channels=(8, 16), norm_groups=4),
        texts=(tower,),
        image_size=16,
        task="instruct" if name == "instruct" else "text",
        prediction="v" if name == "v" else "eps",
        sampling=CLEAN if name == "xl" else WALK,
    )
    state = {k.removeprefix("state/"): a for k, a in arrays.items() if k.startswith("state/")}
    shapes = jax.eval_shape(partial(init_unet, config), jax.random.key(0))
    params = import_params(latent_unet.table(unet, "diffusers"), state, shapes)
    denoiser = Denoiser(config, jax.tree.map(jnp.asarray, params))
    sizes, given = denoiser.time_ids(1, 8, 8), {k: jnp.asarray(arrays[k]) for k in arrays if k in
             ("context", "null", "pooled", "null_pooled", "start", "picture")}  # fmt: skip
    cond = denoiser.condition(Embedded(given["context"], given.get("pooled")), sizes)
    null = denoiser.condition(Embedded(given["null"], given.get("null_pooled")), sizes)
    nulls = (null,)
    if "picture" in given:
        picture = given["picture"]
        cond = cond | {"concat": picture}
        nulls = (null | {"concat": picture}, null | {"concat": picture * 0})
    scale = lambda value: jnp.full((1,), value, jnp.float32)
    options = CASES[name]
    image = scale(options["image_guidance"]) if "image_guidance" in options else None
    keys = jax.random.split(jax.random.key(0), 1)
    rows = Rows(
        given["start"], keys, cond, nulls, scale(options["guidance"]),
        scale(options.get("rescale", 0.0)), image,
    )  # fmt: skip
    times = config.sampling.times(Sampling(steps=STEPS), config.schedule)
    walk = Walk(times, jnp.int32(0), jnp.float32(0), rows)
    return np.asarray(denoiser.walk(walk, "ddim", None, lambda latents: latents))


def check(name: str, arrays: dict[str, np.ndarray]) -> None:
    error = np.abs(final(name, arrays) - arrays["final"]).max() / np.abs(arrays["final"]).max()
    assert error < TOLERANCE, error


@pytest.mark.parametrize(
    "name", ["eps", *(pytest.param(one, marks=pytest.mark.slow) for one in CASES if one != "eps")]
)
def test_walks_arrive_where_diffusers_does(name):
    with np.load(REFERENCES / "latent_walks.npz") as file:
        check(name, {k.removeprefix(f"{name}/"): file[k] for k in file if k.startswith(f"{name}/")})


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_walks_of_other_networks_arrive_there_too(name):
    pytest.importorskip("diffusers")
    import make_latent_walks

    check(name, make_latent_walks.run(name, 70))
