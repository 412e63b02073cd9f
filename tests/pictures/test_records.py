"""A request goes into a picture's record and comes out as it was, old records included."""

import json

import numpy as np
import pytest

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.pictures.records import RecordError, read_records, request_of, save_picture
from clipdiff_jax.unclip.drawing import Drawing

REQUESTS = [
    Sampling(),
    Sampling(steps=(10, 10, 3), sampler="ddim", eta=0.5, threshold=99.5),
    Sampling(steps="glide", sampler="ancestral", guidance=3, spacing="linspace"),
    Editing(),
    Editing(strength=-0.5, ratios=(1, 2.5), t0=300, steps=12, method="edict", purify=3),
    Editing(fixed_point=2, random_inversion=True, sampler="heun"),
    Drawing(),
    Drawing(guidance=2, steps=(3, 2), sampler="dpm_solver", prior="ar_prior", temperature=0),
    Drawing(prior_guidance=1.5, prior_steps=5, candidates=2, upsample_steps="glide"),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_comes_back_from_its_dictionary(request_):
    written = request_.to_dict()
    found = type(request_).from_dict(json.loads(json.dumps(written)))
    assert found == request_
    assert json.dumps(found.to_dict()) == json.dumps(written)  # 1 stays 1, and 1.0 stays 1.0


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_picture_keeps_its_request(request_, tmp_path):
    record = {"command": "x", "file": "a.png", "seed": 3, **request_.to_dict()}
    save_picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32), record)
    (found,) = read_records(tmp_path / "a.png")
    assert found == json.loads(json.dumps(record))
    assert request_of(type(request_), found) == request_


def test_what_an_old_record_lacks_takes_its_default():
    old = {"command": "edit", "file": "a.png", "strength": 0.5, "t0": 300, "steps": 4,
           "method": "ddim", "fixed_point": 0, "ratios": [2.0, 1.0]}  # fmt: skip
    assert request_of(Editing, old) == Editing(
        strength=0.5, t0=300, steps=4, method="ddim", ratios=(2.0, 1.0)
    )


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (Sampling, {"steps": True}, "steps"),
        (Sampling, {"eta": "much"}, "eta"),
        (Sampling, {"eta": True}, "eta"),
        (Editing, {"ratios": "12"}, "ratios"),
        (Editing, {"t0": 1.5}, "whole number"),
        (Drawing, {"stepz": 3}, r"Did you mean 'steps'\?"),
    ],
)
def test_a_value_of_another_type_is_refused(cls, values, message):
    with pytest.raises(ConfigError, match=message):
        cls.from_dict(values)


def test_a_record_with_a_wrong_value_names_its_picture():
    with pytest.raises(RecordError, match=r"the record of 'a\.png': eta=3"):
        request_of(Sampling, {"file": "a.png", "eta": 3})
