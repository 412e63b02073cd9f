"""LEDITS++ arrives where diffusers' pipeline does, with and without maps of words."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.requests import ConceptEditing
from clipdiff_jax.latent.steering.editing import ledits_times
from clipdiff_jax.latent.steering.ledits import Concepts, Job, ledits
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.latent import LatentConfig, TextTower, init_unet
from clipdiff_jax.weights.layouts import latent_unet
from clipdiff_jax.weights.tables import import_params

TOLERANCE = 5e-4  # of the reference's largest number
STEPS, SKIP, COUNTS = 6, 0.34, (2, 3)
# The reference's inversion takes the source for the empty text: e_s + 3.5 (e_0 - e_s), and e_s.
INVERTED = {"masked": -2.5, "anywhere": 1.0}


def check(name: str, arrays: dict[str, np.ndarray]) -> None:
    unet = latent_unet.read_config(json.loads(str(arrays["config"])), None)
    config = LatentConfig(
        unet=unet,
        autoencoder=AutoencoderConfig(channels=(8, 16), norm_groups=4),
        texts=(TextTower(TextConfig(width=unet.context_width, heads=1)),),
        image_size=16,
    )
    state = {k.removeprefix("state/"): a for k, a in arrays.items() if k.startswith("state/")}
    shapes = jax.eval_shape(partial(init_unet, config), jax.random.key(0))
    params = import_params(latent_unet.table(unet, "diffusers"), state, shapes)
    denoiser = Denoiser(config, jax.tree.map(jnp.asarray, params))
    given = {k: jnp.asarray(arrays[k]) for k in arrays if not k.startswith(("state/", "config"))}
    words = np.zeros((2, 1, given["null"].shape[1]), np.float32)
    for row, count in zip(words, COUNTS, strict=True):
        row[0, 1 : 1 + count] = 1
    concepts = Concepts(
        {"context": given["concepts"][:, None]},
        words,
        jnp.array([5.0, -7.0]),
        jnp.int32(1),
        jnp.float32(0.7),
    )
    masked = name == "masked"
    job = Job(
        given["picture"], given["noise"], {"context": given["source"]}, {"context": given["null"]},
        jnp.float32(INVERTED[name]), concepts,
    )  # fmt: skip
    times = ledits_times(denoiser, ConceptEditing(steps=STEPS, skip=SKIP))
    found = np.asarray(ledits(denoiser, times, job, masked=masked))
    error = np.abs(found - arrays["final"]).max() / np.abs(arrays["final"]).max()
    assert error < TOLERANCE, error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["masked", "anywhere"])
def test_edits_arrive_where_diffusers_does(name):
    with np.load(REFERENCES / "ledits.npz") as file:
        check(name, {k.removeprefix(f"{name}/"): file[k] for k in file if k.startswith(f"{name}/")})


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["masked", "anywhere"])
def test_edits_by_other_networks_arrive_there_too(name):
    pytest.importorskip("diffusers")
    import make_ledits

    check(name, make_ledits.run(name, 70))
