"""Options are a request's fields: their names, defaults, help, choices and types."""

import dataclasses
from dataclasses import dataclass

import pytest

from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.parser import Parser, UsageError
from clipdiff_jax.core.request import Request, option
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.unclip.drawing import Drawing


def parser_of(request, only=None, **options):
    parser = Parser(prog="clipdiff test")
    add_options(parser, request, only, **options)
    return parser


@pytest.mark.parametrize("request_", [Sampling(), Editing(), Drawing()], ids=lambda r: type(r))
def test_every_field_is_an_option_with_its_help_and_default(request_):
    told = squeezed(parser_of(request_).format_help())
    for one in dataclasses.fields(request_):
        assert option_name(one.name) in told
        assert squeezed(one.metadata["help"] + shown(getattr(request_, one.name))) in told


def squeezed(text: str) -> str:
    """Help is wrapped anywhere."""
    return "".join(text.split())


def shown(default: object) -> str:
    if default is None or isinstance(default, bool):
        return ""
    return f" ({default:g})" if isinstance(default, (int, float)) else f" ({default})"


@pytest.mark.parametrize("request_", [Sampling(), Editing(), Drawing()], ids=lambda r: type(r))
def test_no_option_means_the_default(request_):
    assert from_args(request_, parser_of(request_).parse_args([])) == request_


def test_options_become_values_of_the_fields_types():
    words = [
        "--steps",
        "10,10,3",
        "--sampler",
        "ddim",
        "--eta",
        "1",
        "--threshold",
        "99.5",
        "--guidance",
        "2",
    ]
    found = from_args(Sampling(), parser_of(Sampling()).parse_args(words))
    assert found == Sampling(steps=(10, 10, 3), eta=1.0, threshold=99.5, guidance=2.0)
    words = ["--ratios", "1", "2", "--t0", "300", "--random-inversion", "--method", "edict"]
    found = from_args(Editing(), parser_of(Editing()).parse_args(words))
    assert found == Editing(ratios=[1.0, 2.0], t0=300, random_inversion=True, method="edict")
    args = parser_of(Drawing()).parse_args(["--prior", "ar_prior", "--upsample-steps", "glide"])
    assert from_args(Drawing(), args) == Drawing(prior="ar_prior", upsample_steps="glide")
    assert given(args, ("prior", "steps", "upsample_steps")) == ["prior", "upsample_steps"]


def test_a_commands_own_default_is_kept_and_shown():
    default = Sampling(steps=40)
    parser = parser_of(default, ("steps", "eta"), shown={"eta": "none"})
    assert "(40)" in parser.format_help()
    assert "(none)" in parser.format_help()
    assert from_args(default, parser.parse_args(["--eta", "0.5"])) == default.replace(eta=0.5)


def test_several_values_are_the_commands():
    parser = parser_of(Editing(), ("strength", "t0"), several=("strength",))
    args = parser.parse_args(["--strength", "0", "0.5", "--t0", "3"])
    assert args.strength == [0.0, 0.5]
    assert from_args(Editing(), args, leave_out=("strength",)) == Editing(t0=3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stepz", "3"], r"no option '--stepz'. Did you mean '--steps'\?"),
        (["--sampler", "dimm"], r"'dimm' is not one of .* Did you mean 'ddim'\?"),
        (["--steps", "a,b"], "'a,b' is neither a number of steps"),
        (["--eta"], "expected one argument"),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_a_line_that_cannot_be_read_is_an_error(words, message):
    with pytest.raises(UsageError, match=message):
        parser_of(Sampling()).parse_args(words)


def test_a_value_out_of_bounds_names_its_option():
    parser = parser_of(Drawing())
    with pytest.raises(ValueError, match=r"^--prior-steps 0, expected a number of at least 1$"):
        from_args(Drawing(), parser.parse_args(["--prior-steps", "0"]))


def test_percent_signs_in_help_are_shown():
    @dataclass(frozen=True, kw_only=True)
    class Share(Request):
        share: int = option(50, "so many % of it", low=0, high=100)

    assert "so many % of it (50)" in parser_of(Share()).format_help()
