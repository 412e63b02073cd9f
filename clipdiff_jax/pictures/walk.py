"""The walk of a puzzle as frames of an animation: pieces drawn where their poses say, while those
are denoised.

It begins with the pieces as they were handed in, which gather where the walk starts (all in the
middle, where it starts from the mean of the noise), and ends with the picture that they make.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from clipdiff_jax.data.puzzles import QUARTERS, centres
from clipdiff_jax.reassembly.answer import Answer

GATHER, HOLD = 6, 10  # frames before the walk, and of the first and the last picture
SMALLEST = 256  # pixels of a frame's longer side
_GROUND = (24, 24, 28)
_BORDER = 0.75  # of a piece, around the picture


def walk_frames(answer: Answer) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Frames of one size, uint8."""
    side = answer.pieces.shape[1]
    scale = max(1, math.ceil(SMALLEST / (side * max(answer.size))))
    pieces = [
        Image.fromarray(np.repeat(np.repeat(piece, scale, 0), scale, 1)).convert("RGBA")
        for piece in answer.pieces
    ]
    given = _as_given(answer)
    states = [_whole(x) for x in answer.path]
    start = states[0] if states else given
    frames = [_draw(pieces, given, answer)] * HOLD
    for step in range(1, GATHER + 1):
        share = step / GATHER
        frames.append(_draw(pieces, (1 - share) * given + share * start, answer))
    frames += [_draw(pieces, state, answer) for state in states[1:]]
    return [*frames, *[_draw(pieces, _as_placed(answer), answer)] * HOLD]


def _as_given(answer: Answer) -> Float[np.ndarray, "p 4"]:
    """The pieces row by row as they lie, in cells of their own."""
    cells = np.linspace(0, answer.size.cells - 1, len(answer.pieces)).astype(int)
    upright = np.tile([1.0, 0.0], (len(cells), 1))
    return np.concatenate([centres(answer.size)[cells], upright], -1)


def _as_placed(answer: Answer) -> Float[np.ndarray, "p 4"]:
    angle = answer.turns * (2 * np.pi / QUARTERS)
    facing = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([centres(answer.size)[answer.cells], facing], -1)


def _whole(poses: Float[np.ndarray, "p d"]) -> Float[np.ndarray, "p 4"]:
    """Poses with a turn, which is none where they have none."""
    if poses.shape[1] == 4:
        return poses
    return np.concatenate([poses, np.tile([1.0, 0.0], (len(poses), 1))], -1)


def _draw(
    pieces: list[Image.Image], poses: Float[np.ndarray, "p 4"], answer: Answer
) -> UInt8[np.ndarray, "h w 3"]:
    side, size = pieces[0].width, answer.size
    border = round(side * _BORDER)
    shape = (size.columns * side + 2 * border, size.rows * side + 2 * border)
    canvas = Image.new("RGB", shape, _GROUND)
    for piece, (u, v, cosine, sine) in zip(pieces, poses, strict=True):
        angle = math.degrees(math.atan2(sine, cosine))
        turned = piece.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
        x = border + ((u + 1) / 2 * (size.columns - 1) + 0.5) * side
        y = border + ((v + 1) / 2 * (size.rows - 1) + 0.5) * side
        canvas.paste(turned, (round(x - turned.width / 2), round(y - turned.height / 2)), turned)
    return np.asarray(canvas)
