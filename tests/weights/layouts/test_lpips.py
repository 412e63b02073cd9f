"""A loaded LPIPS gives the numbers of the original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES
from safetensors.numpy import save_file

from clipdiff_jax.models.alexnet import AlexNetConfig
from clipdiff_jax.models.vgg import VGGConfig
from clipdiff_jax.perceptual.lpips import Lpips, import_lpips, init_params, load_lpips, lpips
from clipdiff_jax.weights.layouts.lpips import ALEXNET, HEADS, vgg_table
from clipdiff_jax.weights.tables import ConvertError, expected, export_params

TINY = {"alex": AlexNetConfig((4, 6, 8, 5, 7)), "vgg": VGGConfig((4, 5, 6, 7, 8))}


def assert_parity(model: Lpips, first, second, distances):
    found = np.asarray(model.distance(first, second))
    assert found[-1] == 0  # equal pictures
    assert distances[0] > 1e-3
    np.testing.assert_allclose(found, distances, rtol=1e-4, atol=1e-9)


def stored(net) -> tuple[dict, dict, dict]:
    """Network, heads and pictures with distances of a reference file."""
    with np.load(REFERENCES / f"lpips_{net}.npz") as file:
        arrays = dict(file)
    parts = [
        {n.removeprefix(part): a for n, a in arrays.items() if n.startswith(part)}
        for part in ("network/", "heads/")
    ]
    return *parts, {name: arrays[name] for name in ("first", "second", "distances")}


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_stored_reference(net):
    network, heads, pairs = stored(net)
    model = import_lpips(TINY[net], network, heads)
    assert_parity(model, **pairs)
    table = ALEXNET if net == "alex" else vgg_table(TINY[net])
    back = export_params(table, model.network) | export_params(HEADS, model.heads)
    assert set(network) - set(back) == {"classifier.1.weight", "classifier.1.bias"}
    for name, array in back.items():
        np.testing.assert_array_equal(array, (network | heads)[name], err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("net", "config", "shape"),
    [
        ("alex", AlexNetConfig((3, 5, 7, 9, 11)), (35, 44)),
        ("vgg", VGGConfig((3, 4, 5), (1, 2, 2)), (21, 18)),
        ("vgg", VGGConfig((6, 4), (1, 1)), (2, 3)),
    ],
)
def test_equal_to_torch(net, config, shape):
    pytest.importorskip("torch")
    from make_lpips import random_lpips, run, state_of

    options = {"depths": config.depths} if net == "vgg" else {}
    network, heads = random_lpips(net, config.widths, 3, **options)
    model = import_lpips(config, state_of(network), state_of(heads))
    assert_parity(model, **run(net, network, heads, *shape, 4))


def test_the_networks_at_full_size():
    """The numbers of convolutional weights of the public networks, and the names at their ends."""
    shapes = {
        config: jax.eval_shape(
            lambda key, config=config: init_params(config, key), jax.random.key(0)
        )
        for config in (AlexNetConfig(), VGGConfig())
    }
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in shapes.values()]
    assert sizes == [2_469_696, 14_714_688]
    names = expected(vgg_table(VGGConfig()), shapes[VGGConfig()])
    assert names["features.0.weight"] == (64, 3, 3, 3)
    assert names["features.28.weight"] == (512, 512, 3, 3)
    assert len(names) == 26


def test_public_files_are_read(tmp_path):
    """Files of the public sizes, with the classifier that LPIPS leaves out."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: init_params(AlexNetConfig(), jax.random.key(0)))
    draw = lambda *shape: rng.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[1:]))
    network = {name: draw(*shape) for name, shape in expected(ALEXNET, shapes).items()}
    widths = (64, 192, 384, 256, 256)
    heads = {f"lin{i}.model.1.weight": np.abs(draw(1, w, 1, 1)) for i, w in enumerate(widths)}
    save_file(network | {"classifier.6.bias": draw(10)}, tmp_path / "alexnet.safetensors")
    save_file(heads, tmp_path / "alex.safetensors")
    model = load_lpips(tmp_path / "alexnet.safetensors", tmp_path / "alex.safetensors")
    np.testing.assert_array_equal(model.heads["lin3"], heads["lin3.model.1.weight"][0, :, 0, 0])
    with pytest.raises(ConvertError, match=r"features\.0\.weight: \(64, 3, 11, 11\), expected"):
        load_lpips(tmp_path / "alexnet.safetensors", tmp_path / "alex.safetensors", net="vgg")
    with pytest.raises(ConvertError, match=r"lin0\.model\.1\.weight"):
        load_lpips(tmp_path / "alexnet.safetensors", tmp_path / "alexnet.safetensors")
    with pytest.raises(ValueError, match="Did you mean 'vgg'"):
        load_lpips(tmp_path / "alexnet.safetensors", tmp_path / "alex.safetensors", net="vgg1")


def test_small_pictures_are_refused():
    network, heads, _ = stored("alex")
    small = np.zeros((1, 30, 64, 3), np.float32)
    with pytest.raises(ValueError, match="AlexNet takes pictures of 31 pixels per side or more"):
        import_lpips(TINY["alex"], network, heads).distance(small, small)


def test_where_nothing_is_active_the_gradient_is_finite():
    """Dead features have no direction; their distance to a live one is that of a unit vector."""
    features = lambda x: (jnp.maximum(x, 0.0),)
    live, dead = jnp.full((1, 1, 1, 3), 0.9), jnp.full((1, 1, 1, 3), -0.9)
    distance = lambda x: lpips(features, [jnp.ones(3)], x, live)[0]
    assert float(distance(dead)) == pytest.approx(1.0)
    assert float(distance(live)) == 0
    assert np.all(np.isfinite(jax.grad(distance)(dead)))
