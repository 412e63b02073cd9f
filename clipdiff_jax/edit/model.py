"""What was learned to make one change, as one object, and its folder on disk.

An edit is the parameters that were trained, together with what they were trained for and from. It
is applied beside the model it was tuned from, by `edit.api`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from clipdiff_jax.core.config import from_dict, nearest, to_dict
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.edit.h_space import init_h_space
from clipdiff_jax.edit.lora import init_low_rank
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.space import Config, Model, as_base, init_network, load_model
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.weights.documents import untrusted
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import (
    ASSETS,
    CONFIG_NAME,
    check_params,
    load_folder,
    model_folder,
    save_folder,
)
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.publishing import Pushable

KIND = "edit"
READY = "demo/"
PIXEL, LATENT = "pixel", "latent"
_CONFIGS: dict[str, type[Any]] = {PIXEL: DiffusionConfig, LATENT: LatentConfig}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Edit(Pushable):
    """A learned edit.

    Attributes:
      config: of the model, which is that of its base.
      params: of the whole tuned model; with an objective of mode "h_space" those of the small
        network that shifts the base model's bottleneck; of parameters "lora" those of the changes
        of low rank.
      objective: what it learned.
      base_fingerprint: of the base model's parameters it was tuned from.
      base_source: where that model is, as `EditStage.base` has it; "" where it is not known.
    """

    config: Config = field(metadata={"static": True})
    params: Params = field(repr=False)
    objective: EditObjective = field(metadata={"static": True})
    base_fingerprint: str = field(metadata={"static": True})
    base_source: str = field(default="", metadata={"static": True})

    def load_base(self, *, dtype: DType = jnp.float32) -> Model:
        """The model that it was tuned from, from `base_source`.

        Raises `ValueError` where that is not known or is another model by now, and `WeightsError`
        where there is none.
        """
        if not self.base_source:
            raise ValueError(
                f"the edit to '{self.objective.target_text}' does not say where the model is that "
                "it was tuned from: give the base"
            )
        base = load_model(self.base_source, dtype=dtype)
        found = as_base(base).fingerprint
        if self.base_fingerprint and found != self.base_fingerprint:
            raise ValueError(
                f"the edit to '{self.objective.target_text}' was tuned from '{self.base_source}' "
                f"with the fingerprint {self.base_fingerprint!r}, which now has "
                f"{found!r}: give the base that it was tuned from"
            )
        return base

    def save(self, path: str | Path) -> None:
        """Writes the folder that `load_edit` reads."""
        described = {
            "kind": KIND,
            "system": LATENT if isinstance(self.config, LatentConfig) else PIXEL,
            "model": to_dict(self.config),
            "objective": to_dict(self.objective),
            "base_fingerprint": self.base_fingerprint,
        }
        if self.base_source:
            described["base_source"] = self.base_source
        save_folder(path, described, self.params)


def init_of(objective: EditObjective, config: Config) -> Callable[[Key[Array, ""]], Params]:
    """key -> new parameters of what is learned of a model."""
    if objective.mode == "h_space" and isinstance(config, DiffusionConfig):
        return functools.partial(init_h_space, config)
    if objective.parameters == "lora":
        return functools.partial(init_low_rank, objective, config)
    return functools.partial(init_network, config)


def load_edit(path: str | Path) -> Edit:
    """Reads what the edit stage wrote: its `model` folder, the workdir with it, or a repository of
    the Hugging Face Hub that holds one; or one of `ready_edits`, such as "demo/smile".

    Raises `WeightsError` where there is none.
    """
    if isinstance(path, str) and path.startswith(READY):
        path = ready_folder(path)
    else:
        path = model_folder(locate(path))
    config, params = load_folder(path, jnp.float32)
    if config["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{config['kind']}', not '{KIND}'")
    with untrusted(Path(path)):
        system = config.get("system", PIXEL)
        if system not in _CONFIGS:
            known = ", ".join(_CONFIGS)
            raise WeightsError(f"system is {system!r}, expected one of {known}")
        model: Config = from_dict(_CONFIGS[system], config.get("model"))
        objective = from_dict(EditObjective, config.get("objective"))
        base = config.get("base_fingerprint")
        if not isinstance(base, str):
            raise WeightsError(f"base_fingerprint is a {type(base).__name__}, expected a text")
        source = config.get("base_source", "")
        if not isinstance(source, str):
            raise WeightsError(f"base_source is a {type(source).__name__}, expected a text")
        check_params(path, params, init_of(objective, model))
    return Edit(model, jax.tree.map(jnp.asarray, params), objective, base, source)


def ready_edits() -> list[str]:
    """The names of the edits of the demo's model that are part of the package."""
    return sorted(READY + one.parent.name for one in (ASSETS / "edits").glob(f"*/{CONFIG_NAME}"))


def is_ready(name: str) -> bool:
    """Whether `load_edit` takes this for a ready edit: then it opens no other file."""
    return name in ready_edits()


def ready_folder(name: str) -> Path:
    """The folder of a ready edit. Raises `WeightsError`, with the nearest, where there is none."""
    known = ready_edits()
    if name not in known:
        listed = ", ".join(known) or "none"
        raise WeightsError(f"no ready edit '{name}'.{nearest(name, known)} There are: {listed}")
    return ASSETS / "edits" / name.removeprefix(READY)
