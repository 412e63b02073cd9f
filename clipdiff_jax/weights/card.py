"""Model cards: what is known of a model from its folder, and what its author says of it.

A card begins with metadata, which the Hub reads (licence, base, task), and says for people what the
model is, how it is loaded, its numbers, its data, and what may be done with it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from PIL import Image

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import read_text
from clipdiff_jax.core.json_files import read_json
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, read_config
from clipdiff_jax.weights.hub import DEMO
from clipdiff_jax.weights.model_files import is_weights, parts_of
from clipdiff_jax.weights.safetensors_file import read_safetensors

MARK = "<!-- written by clipdiff_jax: a card without this line is left as it is -->"
EXAMPLE = "example.png"
LIBRARY = "clipdiff_jax"
# Those that the Hub knows by name; whatever else there is, is "other".
LICENCES = (
    "apache-2.0", "mit", "openrail", "creativeml-openrail-m", "openrail++", "bigscience-openrail-m",
    "cc", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0",
    "agpl-3.0", "lgpl-3.0", "mpl-2.0", "isc", "unlicense", "wtfpl", "artistic-2.0", "other",
)  # fmt: skip
_SCORES = "scores.md"


class AboutOptions(TypedDict, total=False):
    """The fields of `About` as keywords of a call."""

    licence: str | None
    data: str | None
    base: str | None
    scores: str | Path | None
    picture: str | Path | Image.Image | None


@dataclass(frozen=True, kw_only=True)
class About:
    """What an author says of a model that its files do not.

    Attributes:
      licence: by the Hub's name, such as "cc-by-4.0"; None says none.
      data: what it was trained on, in words.
      base: the repository of the model that it was tuned from.
      scores: what `clipdiff evaluate` wrote: the folder, or its scores.md.
      picture: an example: a file, or a PIL picture such as `cd.show(...).image`.

    Raises `ValueError` that names the nearest for a licence that the Hub does not know, and for
    scores that are not there.
    """

    licence: str | None = None
    data: str | None = None
    base: str | None = None
    scores: str | Path | None = None
    picture: str | Path | Image.Image | None = None

    def __post_init__(self) -> None:
        if self.licence is not None and self.licence not in LICENCES:
            raise ValueError(
                f"licence is {self.licence!r}, which the Hub has no name for."
                f"{nearest(self.licence, LICENCES)} It knows {', '.join(LICENCES)}"
            )
        if self.scores is not None and not self._scores_file.is_file():
            raise ValueError(f"no {_SCORES} in '{self.scores}', which `clipdiff evaluate` writes")

    @property
    def _scores_file(self) -> Path:
        path = Path(self.scores or "").expanduser()
        return path / _SCORES if path.is_dir() else path

    def scores_table(self) -> str:
        """The table of the scores, or nothing."""
        return "" if self.scores is None else read_text(self._scores_file).strip()


class Words(NamedTuple):
    """What a card says of a kind of model: what it is, how it is loaded, and the Hub's task."""

    what: str
    code: str
    task: str


_LEARNED = (
    "fine-tuning a diffusion model with CLIP's directional loss (DiffusionCLIP, Kim et al. 2022, "
    "arXiv 2110.02711)"
)
_KINDS = {
    "diffusion": Words(
        "A diffusion model of pictures.",
        'model = cd.load_diffusion("{name}")\ncd.show(model.generate(4, key=0))',
        "unconditional-image-generation",
    ),
    "clip": Words(
        "A CLIP: pictures and texts as vectors that can be compared.",
        'clip = cd.load_clip("{name}")\n'
        'pictures = clip.embed_images(cd.load_images("photos/", size={size}))\n'
        'texts = clip.embed_texts(["a face", "a smiling face"])',
        "zero-shot-image-classification",
    ),
    "latent": Words(
        "A latent diffusion model: pictures of texts.",
        'model = cd.load_latent("{name}")\ncd.show(model.generate(["a red cube"], key=0))',
        "text-to-image",
    ),
    "reassembly": Words(
        "A model that puts the shuffled and turned pieces of a picture together.",
        'model = cd.load_reassembly("{name}")\nanswer = model.solve(pieces)',
        "image-to-image",
    ),
    "unclip": Words(
        "An unCLIP: pictures of texts, by way of CLIP's embeddings of pictures.",
        'model = cd.load_unclip("{name}")\ncd.show(model.generate(["a smiling face"], key=0))',
        "text-to-image",
    ),
}
_EDIT_CODE = (
    'edit = cd.load_edit("{name}")\n'
    "base = {base}\n"
    'pictures = cd.load_images("photos/", size={size})\n'
    "cd.show(cd.edit(pictures, base, edit, strength=0.8))"
)
_CLASSES = {
    "UNet2DModel": "diffusion", "DDPMPipeline": "diffusion", "DDIMPipeline": "diffusion",
    "CLIPModel": "clip", "StableDiffusionPipeline": "latent", "StableDiffusionXLPipeline": "latent",
    "StableDiffusionInpaintPipeline": "latent", "StableDiffusionInstructPix2PixPipeline": "latent",
    "UnCLIPPipeline": "unclip", "UnCLIPImageVariationPipeline": "unclip",
}  # fmt: skip


def kind_in(folder: Path) -> str:
    """The kind of the model in a folder, ours or of others. Raises `WeightsError` for no model."""
    for file in ("model_index.json", CONFIG_NAME):
        if (folder / file).is_file():
            return kind_of_document(read_config(folder, file))
    if "clip" in (parts := parts_of(folder)) and len(parts) > 1:
        return "unclip"
    raise WeightsError(f"'{folder}' holds no model that is known: no {CONFIG_NAME} in it")


def kind_of_document(document: Any) -> str:
    """The same by a config; what names no kind has that of its class, or none: "model"."""
    found = document if isinstance(document, dict) else {}
    if isinstance(found.get("kind"), str):
        return str(found["kind"])
    name = found.get("_class_name")
    if name is None and found.get("model_type") == "clip":
        return "clip"
    return _CLASSES.get(str(name), "model")


def card(
    folder: Path,
    files: Sequence[str],
    name: str,
    about: About,
    config: dict[str, Any],
    *,
    example: bool,
) -> str:
    """The card of the model in a folder.

    files: that it consists of. name: of its repository. config: as others see it, {} without one.
    example: whether a picture is beside it.
    """
    kind = kind_in(folder)
    base = about.base or config.get("base_source")
    words = _edit_words(config, base) if kind == "edit" else _KINDS.get(kind)
    size = _picture_size(config)
    what = f"A model of the kind '{kind}'." if words is None else words.what
    lines = [
        _metadata(words, about, kind, base),
        MARK,
        "",
        f"# {name.partition('/')[2]}",
        "",
        what,
        "",
    ]
    if example:
        lines += [f"![An example of what it makes]({EXAMPLE})", ""]
    if words is not None:
        code = words.code.replace("{name}", name).replace("{size}", str(size or 256))
        lines += ["## Use", "", "```bash", "pip install clipdiff-jax", "```", ""]
        lines += ["```python", "import clipdiff_jax as cd", "", code, "```", ""]
    if kind == "edit":
        lines += ["```bash", f"clipdiff edit photos/ --edit {name} --out edited/", "```", ""]
    lines += ["## Numbers", "", _numbers(folder, files, config, size), ""]
    if scores := about.scores_table():
        lines += [scores, ""]
    data = about.data or _data_of_run(folder) or "Not stated."
    lines += ["## Base", "", _base(config, base), "", "## Data", "", data, ""]
    licence = "Not stated: ask its author before you use it."
    lines += ["## Licence", "", about.licence or licence, ""]
    return "\n".join(lines)


def _metadata(words: Words | None, about: About, kind: str, base: str | None) -> str:
    """The lines that the Hub reads."""
    tags = ["jax", "diffusion", "clip", kind]
    lines = ["---", f"library_name: {LIBRARY}"]
    if about.licence is not None:
        lines.append(f"license: {about.licence}")
    if words is not None:
        lines.append(f"pipeline_tag: {words.task}")
    if base is not None and base != DEMO:
        lines.append(f"base_model: {json.dumps(base)}")
    return "\n".join([*lines, f"tags: {json.dumps(list(dict.fromkeys(tags)))}", "---"])


def _edit_words(config: dict[str, Any], base: str | None) -> Words:
    objective = config.get("objective") or {}
    source, target = (str(objective.get(f"{one}_text", "?")) for one in ("source", "target"))
    load = "load_latent" if config.get("system") == "latent" else "load_diffusion"
    base = f'cd.{load}("{base}")' if base else f"cd.{load}(...)  # see Base below"
    what = f"An edit of pictures: what is `{source}` becomes `{target}`. Learned by {_LEARNED}."
    return Words(what, _EDIT_CODE.replace("{base}", base), "image-to-image")


def _picture_size(config: dict[str, Any]) -> int | None:
    """The side of the model's pictures, where its config says it."""
    inside = config.get("model") or config.get("stage") or config.get("clip") or config
    for one in (inside, inside.get("vision") if isinstance(inside, dict) else None):
        if isinstance(one, dict):
            for name in ("image_size", "sample_size"):
                if isinstance(one.get(name), int):
                    return int(one[name])
    return None


def _numbers(folder: Path, files: Sequence[str], config: dict[str, Any], size: int | None) -> str:
    parameters, weights = 0, [name for name in files if is_weights(name)]
    for name in weights:
        parameters += sum(math.prod(a.shape) for a in read_safetensors(folder / name).values())
    stored = sum((folder / name).stat().st_size for name in weights)
    rows = [("parameters", f"{parameters:,}"), ("size of the weights", f"{stored / 1e6:,.1f} MB")]
    if size is not None:
        rows.append(("pictures", f"{size} px a side"))
    objective = config.get("objective")
    if isinstance(objective, dict):
        known = {"t0": "noised to (t0)", "mode": "learned by", "parameters": "what is trained"}
        rows += [(known[one], str(objective[one])) for one in known if objective.get(one)]
    lines = ["| what | number |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines)


def _base(config: dict[str, Any], base: str | None) -> str:
    print_of = config.get("base_fingerprint")
    if base == DEMO:
        return "The demo's model, a part of clipdiff_jax (avatars, 64 px)."
    known = f" (fingerprint `{print_of}`)" if print_of else ""
    if base:
        return f"`{base}`{known}."
    if print_of:
        return f"A model of its author's{known}, which is not published with it."
    return "None: it was trained from nothing, or its author does not say."


def _data_of_run(folder: Path) -> str:
    """What the recipe beside a run's model says of its data; paths are its author's business."""
    recipe = folder.parent / CONFIG_NAME
    if folder.name != "model" or not recipe.is_file():
        return ""
    try:
        run = read_json(recipe)
        data = run["stage"]["data"]
        kind = data["type"]
    except (ValueError, OSError, KeyError, TypeError):
        return ""
    if kind == "AvatarsData":
        return f"Rendered avatars of {data.get('size')} px (`clipdiff data`), no photographs."
    if kind == "TfdsData":
        return f"`{data.get('name')}` of tensorflow-datasets, split `{data.get('split')}`."
    return "A folder of pictures of its author's."
