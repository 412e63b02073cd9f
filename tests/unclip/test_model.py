"""unCLIP as a whole: the pictures of diffusers' pipelines, and what a user may turn."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_karlo import VARIATIONS, stored, write_karlo

import clipdiff_jax as cd
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.unclip import decoder, upsampler
from clipdiff_jax.unclip.priors import diffusion
from clipdiff_jax.weights.errors import WeightsError

PROMPTS = ["a cat", "b"]
STEPS = {"steps": 4, "upsample_steps": 4}
SCALES = {"guidance": 3.0, "prior_guidance": 2.0, "prior_steps": 3}


def relative_error(ours, theirs) -> float:
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


@pytest.fixture(scope="module")
def reference():
    return stored()


@pytest.fixture(scope="module")
def noise(reference):
    parts = ("prior", "decoder", "upsampler")
    return {p: Noise(*(reference[f"noise/{p}/{n}"] for n in ("start", "steps"))) for p in parts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_karlo(tmp_path_factory.mktemp("karlo") / "karlo-v1-alpha")


@pytest.fixture(scope="module")
def model(folder):
    return cd.load_unclip(folder)


@pytest.fixture(scope="module")
def varying(tmp_path_factory):
    path = tmp_path_factory.mktemp("karlo") / "karlo-v1-alpha-image-variations"
    return cd.load_unclip(write_karlo(path, VARIATIONS))


def test_each_part_equals_the_stored_reference(model, noise, reference):
    embedding = model.embed_prompts(PROMPTS, guidance=2.0, steps=3, noise=noise["prior"])
    assert relative_error(embedding, reference["embedding"]) < 1e-4
    small = model.decode(embedding, PROMPTS, guidance=3.0, steps=4, noise=noise["decoder"])
    shape = reference["enlarged"].shape
    enlarged = jax.image.resize(small, shape, "cubic", antialias=True)
    assert relative_error(enlarged, reference["enlarged"]) < 1e-3
    large = model.upsample(small, steps=4, noise=noise["upsampler"])
    assert relative_error(large, reference["generated"]) < 1e-3


def test_generated_pictures_equal_the_stored_reference(model, noise, reference):
    images = model.generate(PROMPTS, noise=noise, **SCALES, **STEPS)
    assert images.dtype == jnp.float32
    assert images.shape == (2, 32, 32, 3)
    assert float(jnp.abs(images).max()) <= 1
    assert relative_error(images, reference["generated"]) < 1e-3


def test_steps_by_section_walk_their_grid(model, noise):
    """Sections of which each has as many times as the even grid has there give its picture."""
    even = model.decode(None, PROMPTS, guidance=3.0, steps=4, noise=noise["decoder"])
    one_section = model.decode(None, PROMPTS, guidance=3.0, steps=[4], noise=noise["decoder"])
    np.testing.assert_array_equal(one_section, even)
    halves = model.decode(None, PROMPTS, guidance=3.0, steps=(2, 2), noise=noise["decoder"])
    assert relative_error(halves, even) > 1e-3


def test_dynamic_thresholding_saturates_one_value_where_clipping_saturates_many(model, noise):
    def decode(**options):
        x = model.decode(
            None, PROMPTS, guidance=40.0, steps=4, sampler="ddim", noise=noise["decoder"], **options
        )
        return jnp.sum(jnp.abs(x) > 1 - 1e-4, axis=(1, 2, 3))

    assert decode().min() > 10
    assert decode(threshold=100.0).max() <= 1
    values = model.decoder.config.image_size**2 * 3
    np.testing.assert_allclose(decode(threshold=90.0) / values, 0.1, atol=0.01)


def test_variations_equal_the_stored_reference(varying, noise, reference):
    image = jnp.asarray(reference["image"])
    images = varying.variations(image, count=2, guidance=3.0, noise=noise, **STEPS)
    assert relative_error(images, reference["varied"]) < 1e-3
    alone = varying.variations(image[0], count=2, guidance=3.0, noise=noise, **STEPS)
    np.testing.assert_array_equal(alone, images)


@pytest.mark.slow
@pytest.mark.parity
def test_pipelines_equal_diffusers(tmp_path):
    pytest.importorskip("torch")
    import make_karlo

    parts = make_karlo.write_folder(tmp_path / "text")
    stages = make_karlo.draw(7, 3)
    noise = {stage: Noise(**both) for stage, both in stages.items()}
    prompts = ["", "A cat", "far too long a text"]
    made = make_karlo.generate(parts, stages, prompts, guidance=5.0)
    with pytest.warns(UserWarning, match="far too long"):
        ours = cd.load_unclip(tmp_path / "text").generate(
            prompts, noise=noise, **(SCALES | {"guidance": 5.0}), **STEPS
        )
    assert relative_error(ours, made["generated"]) < 1e-3
    index = tmp_path / "text" / "model_index.json"
    index.write_text(json.dumps({"_class_name": VARIATIONS}))
    image = np.random.default_rng(3).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    theirs = make_karlo.vary(parts, stages, image)
    varied = cd.load_unclip(tmp_path / "text").variations(
        image, count=3, guidance=3.0, noise=noise, **STEPS
    )
    assert relative_error(varied, theirs) < 1e-3


@pytest.mark.parity
@pytest.mark.parametrize("size", [12, 16, 31])
def test_resizing_equals_torchs_antialiased_bicubic(size):
    """torch's antialiased bicubic has a = -0.5, as ours; its plain one has -0.75."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    nchw = torch.tensor(x).permute(0, 3, 1, 2)
    enlarge = lambda antialias: torch.nn.functional.interpolate(
        nchw, size=[size, size], mode="bicubic", align_corners=False, antialias=antialias
    ).permute(0, 2, 3, 1)
    ours = upsampler.resize(jnp.asarray(x), size)
    np.testing.assert_allclose(ours, enlarge(True).numpy(), atol=1e-5)
    assert np.abs(np.asarray(ours) - enlarge(False).numpy()).max() > 1e-2


def test_a_second_call_compiles_nothing_new(folder, model):
    programs = (diffusion._draw, decoder._draw, upsampler._draw)
    options = STEPS | {"sampler": "ddim", "eta": 0.5}
    first = model.generate(PROMPTS, key=jax.random.key(0), **SCALES, **options)
    sizes = [program._cache_size() for program in programs]
    scales = SCALES | {"guidance": 1.5, "prior_guidance": 1.0}
    other = cd.load_unclip(folder).generate(["dog", "x y"], key=1, **scales, **options)
    second = model.generate(["dog", "x y"], key=1, **scales, **(options | {"eta": 0.9}))
    assert [program._cache_size() for program in programs] == sizes
    assert float(jnp.abs(other - second).max()) > 1e-3
    assert float(jnp.abs(first - second).max()) > 1e-3


@pytest.mark.slow
def test_a_picture_depends_on_its_own_key_alone(model):
    keys = jax.random.split(jax.random.key(0), 2)
    both = model.generate(PROMPTS, key=keys, **SCALES, **STEPS)
    one = model.generate(PROMPTS[1:], key=keys[1:], **SCALES, **STEPS)
    np.testing.assert_allclose(one[0], both[1], atol=1e-4)
    folded = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(jnp.arange(2))
    scalar = model.generate(PROMPTS, key=jax.random.key(3), **SCALES, **STEPS)
    np.testing.assert_array_equal(scalar, model.generate(PROMPTS, key=folded, **SCALES, **STEPS))


def test_parts_are_loaded_and_dropped_one_by_one(folder, model):
    prior = cd.load_unclip(folder, parts=("text", "prior"), param_dtype=jnp.bfloat16)
    assert set(prior.loaded) == {"text", "prior"}
    kinds = {leaf.dtype for leaf in jax.tree.leaves(prior)}
    assert kinds == {jnp.dtype(jnp.bfloat16)}
    embedding = prior.embed_prompts(PROMPTS, key=jax.random.key(0), steps=2)
    full = model.embed_prompts(PROMPTS, key=jax.random.key(0), steps=2)
    assert relative_error(embedding, full) < 0.1
    small = model.without("prior", "upsampler")
    assert set(small.loaded) == {"text", "decoder"}
    assert small.decode(embedding, key=jax.random.key(0), steps=2).shape == (2, 16, 16, 3)
    with pytest.raises(ValueError, match="no part 'prior' loaded; it has: text, decoder"):
        small.generate(PROMPTS, key=jax.random.key(0))
    with pytest.raises(WeightsError, match=r"no stage 'pirior'.+ mean 'prior'"):
        cd.load_unclip(folder, parts=("pirior",))


@pytest.mark.slow
def test_bfloat16_networks_give_float32_pictures(folder, model):
    half = cd.load_unclip(folder, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    made = half.generate(PROMPTS, key=jax.random.key(0), **SCALES, **STEPS)
    assert made.dtype == jnp.float32
    assert bool(jnp.isfinite(made).all())


def test_mistakes_are_named(model, noise):
    with pytest.raises(ValueError, match="give a key, or noise"):
        model.embed_prompts(PROMPTS)
    with pytest.raises(ValueError, match=r"noise of 'decoder' has shapes .+ expected"):
        model.decode(np.zeros((2, 16), np.float32), steps=5, noise=noise["decoder"])
    with pytest.raises(ValueError, match=r"noise for 'decodr'.+ mean 'decoder'"):
        model.generate(PROMPTS, noise={"decodr": noise["decoder"]})
    with pytest.raises(ValueError, match="2 embeddings need as many prompts or none, got 1"):
        model.decode(np.zeros((2, 16), np.float32), ["a"], key=jax.random.key(0))
    with pytest.raises(ValueError, match="no part 'image' loaded"):
        model.variations(np.zeros((1, 16, 16, 3), np.float32), key=jax.random.key(0))


def change(folder: Path, file: str, **changes) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model_index.json").unlink(), "no 'model_index.json' in"),
        (lambda f: change(f, "model_index.json", _class_name="DDPMPipeline"),
         "describes 'DDPMPipeline', expected one of UnCLIPPipeline"),
        (lambda f: (f / "prior" / "diffusion_pytorch_model.safetensors").unlink(),
         "no weights in '.+prior'"),
        (lambda f: (f / "decoder" / "config.json").unlink(), "no 'config.json' in '.+decoder'"),
        (lambda f: change(f, "prior/config.json", embedding_dim=24),
         "prior' has embedding_dim 24, expected 16 because of text_encoder"),
        (lambda f: change(f, "prior/config.json", num_layers=3), "prior': .+missing"),
        (lambda f: change(f, "prior/config.json", _class_name="UNet2DModel"),
         "in '.+prior': config.json describes 'UNet2DModel', expected 'PriorTransformer'"),
        (lambda f: change(f, "text_encoder/config.json", architectures=["CLIPModel"]),
         "text_encoder': config.json describes 'CLIPModel', expected 'CLIPTextModelWith"),
        (lambda f: change(f, "decoder/config.json", mid_block_type="UNetMidBlock2DCrossAttn"),
         "decoder': config.json has mid_block_type 'UNetMidBlock2DCrossAttn', supported is"),
        (lambda f: change(f, "super_res_last/config.json", layers_per_block=2),
         "super_res_last' describes another network"),
        (lambda f: change(f, "decoder_scheduler/scheduler_config.json",
                          variance_type="fixed_small_log"),
         "decoder_scheduler': .+ supported is 'learned_range'"),
        (lambda f: (f / "tokenizer" / "vocab.json").unlink(), "no 'tokenizer.json' and no"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_named(tmp_path, spoil, message):
    folder = write_karlo(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        cd.load_unclip(folder)


def test_a_file_that_is_cut_short_is_named(tmp_path):
    folder = write_karlo(tmp_path / "model")
    file = folder / "decoder" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"decoder.+is cut short"):
        cd.load_unclip(folder)
