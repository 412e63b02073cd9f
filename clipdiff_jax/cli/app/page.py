"""The page: its fields, and which of the workshop's answers goes where.

Mistakes come back as sentences. A broken picture, a photograph of 50 megapixels or one without a
face reach the workshop as files, and are answered by what reads files everywhere.
"""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from clipdiff_jax.cli.app.workshop import FACE, WHOLE, Made, Workshop
from clipdiff_jax.cli.arguments import DEMO
from clipdiff_jax.core.progress import listening
from clipdiff_jax.data.avatars.demo import demo_faces
from clipdiff_jax.data.transforms import to_uint8

with contextlib.suppress(ImportError):  # `command` says what to install
    import gradio as gr

TITLE = "clipdiff"
EXAMPLES = 6  # demo faces to try
MOST = 2.0  # of a strength
ONE = "models"  # the queue that all requests wait in


def build(workshop: Workshop) -> "gr.Blocks":
    """The page of a workshop."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(
            "# clipdiff\nPictures changed and drawn by words, by the models on this machine."
            + (" The demo's models know small cartoon faces alone." if _is_demo(workshop) else "")
        )
        with gr.Tab("Edit"):
            _edit(workshop)
        with gr.Tab("Generate"):
            _generate(workshop)
        with gr.Tab("Vary"):
            _vary(workshop)
        with gr.Tab("Interpolate"):
            _interpolate(workshop)
        with gr.Tab("Turn by texts"):
            _text_diff(workshop)
    return page


def _edit(workshop: Workshop) -> None:
    with gr.Row():
        with gr.Column():
            picture = _picture("Your picture")
            what = gr.Radio([FACE, WHOLE], value=FACE, label="What is edited")
            sliders = [
                gr.Slider(-1, MOST, value=0, step=0.05, label=label) for label in workshop.edits
            ]
            if not sliders:
                gr.Markdown("No edit is loaded: `clipdiff app --edit FOLDER` gives each a slider.")
            _examples(workshop, picture)
        with gr.Column():
            after = gr.Image(
                label="Edited", type="filepath", interactive=False, elem_id="edited", height=300
            )
            said, record, files = _outputs()

    def answer(picture: str | None, what: str, *strengths: float) -> tuple[Any, ...]:
        made = workshop.edit(picture, what, strengths)
        return made.files[0], *_shown(made)

    for slider in sliders:
        _answered(slider.release, answer, [picture, what, *sliders], [after, said, record, files])


def _generate(workshop: Workshop) -> None:
    with gr.Row():
        with gr.Column():
            prompt = gr.Textbox(label="Text", placeholder="a smiling person with long red hair")
            count = gr.Slider(1, 8, value=2, step=1, label="Pictures")
            seed = gr.Number(value=0, precision=0, minimum=0, label="Seed")
            steps = gr.Slider(2, 100, value=20, step=1, label="Steps")
            guidance = gr.Number(value=None, label="Guidance (empty: the model's own)")
            button = gr.Button("Draw", variant="primary")
        with gr.Column():
            outputs = _gallery()

    inputs = [prompt, count, seed, steps, guidance]
    _drawn(button.click, workshop.generate, inputs, outputs)


def _vary(workshop: Workshop) -> None:
    with gr.Row():
        with gr.Column():
            picture = _picture("Picture")
            count = gr.Slider(1, 8, value=2, step=1, label="Variations")
            seed = gr.Number(value=0, precision=0, minimum=0, label="Seed")
            button = gr.Button("Vary", variant="primary")
            _examples(workshop, picture)
        with gr.Column():
            outputs = _gallery()

    _drawn(button.click, workshop.vary, [picture, count, seed], outputs)


def _interpolate(workshop: Workshop) -> None:
    with gr.Row():
        with gr.Column():
            with gr.Row():
                first, second = _picture("From this"), _picture("To this")
            count = gr.Slider(2, 12, value=4, step=1, label="Pictures")
            steps = gr.Slider(2, 100, value=20, step=1, label="Steps")
            button = gr.Button("Interpolate", variant="primary")
        with gr.Column():
            outputs = _gallery()

    inputs = [first, second, count, steps]
    _drawn(button.click, workshop.interpolate, inputs, outputs)


def _text_diff(workshop: Workshop) -> None:
    with gr.Row():
        with gr.Column():
            picture = _picture("Picture")
            source = gr.Textbox(label="What it shows", placeholder="a serious face")
            target = gr.Textbox(label="What it should show", placeholder="a smiling face")
            steps = gr.Slider(2, 100, value=20, step=1, label="Steps")
            button = gr.Button("Turn", variant="primary")
            _examples(workshop, picture)
        with gr.Column():
            outputs = _gallery()

    inputs = [picture, source, target, steps]
    _drawn(button.click, workshop.text_diff, inputs, outputs)


def _picture(label: str) -> "gr.Image":
    """A picture that is handed on as the file that was given, whatever is in it.

    The class is made past gradio's own metaclass, which would write a file beside this one.
    """

    def as_given(self: object, payload: Any) -> str | None:
        return None if payload is None else payload.path

    own = {"preprocess": as_given, "is_template": True, "__module__": __name__}
    kind = type.__new__(type(gr.Image), "PictureFile", (gr.Image,), own)
    return kind(label=label, sources=["upload", "clipboard"], image_mode=None, height=300)


def _gallery() -> tuple[Any, ...]:
    gallery = gr.Gallery(label="Pictures", object_fit="contain", columns=4, interactive=False)
    return gallery, *_outputs()


def _outputs() -> tuple[Any, ...]:
    said = gr.Markdown()
    with gr.Accordion("How it was made: the record, and the files", open=False):
        record = gr.Code(label="Record (clipdiff remake makes it again)", language="json")
        files = gr.File(label="Files", file_count="multiple", interactive=False)
    return said, record, files


def _shown(made: Made) -> tuple[str, str, list[str]]:
    return made.said, made.records, made.files


def _drawn(
    event: Callable[..., Any], draw: Callable[..., Made], inputs: list[Any], outputs: Sequence[Any]
) -> None:
    """An event that fills a `_gallery`."""

    def answer(*values: Any) -> tuple[Any, ...]:
        made = draw(*values)
        return made.files, *_shown(made)

    _answered(event, answer, inputs, outputs)


def _answered(
    event: Callable[..., Any],
    answer: Callable[..., Any],
    inputs: list[Any],
    outputs: Sequence[Any],
) -> None:
    """An event that all other requests wait for; how far it is, and what goes wrong in a sentence,
    is on the page."""

    def told(meter: Any = gr.Progress(), *values: Any) -> Any:  # noqa: B008 (gradio fills it)
        try:
            with listening(lambda now: meter((now.done, now.total), desc=now.what)):
                return answer(*values)
        except (ValueError, OSError, FloatingPointError) as error:
            raise gr.Error(" ".join(str(error).split()), duration=None) from error

    event(told, inputs, list(outputs), concurrency_id=ONE, concurrency_limit=1)


def _examples(workshop: Workshop, picture: "gr.Image") -> None:
    """Faces that the demo knows, to try with one click."""
    if _is_demo(workshop) and (faces := _faces()):
        gr.Examples(faces, picture, label="Faces to try")


def _faces() -> list[str]:
    """Rendered for this page; none where the extra that renders them is not installed."""
    try:
        faces = demo_faces(EXAMPLES, "test", mouth="serious", glasses="none")
    except ImportError:
        return []
    folder = Path(tempfile.mkdtemp(prefix="clipdiff-faces-"))
    paths = [folder / f"face-{number}.png" for number in range(EXAMPLES)]
    for path, face in zip(paths, to_uint8(faces), strict=True):
        Image.fromarray(face).save(path)
    return [str(path) for path in paths]


def _is_demo(workshop: Workshop) -> bool:
    return str(workshop.base) == DEMO
