"""The walk of a puzzle as frames of an animation: pieces drawn where their poses say, while those
are denoised.

It begins with the pieces as they were handed in, which gather where the walk starts (all in the
middle, where it starts from the mean of the noise), and ends with the picture that they make.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from clipdiff_jax.data.puzzles import poses
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
    given = poses(answer.spread, np.zeros_like(answer.spread), answer.size)
    states = [_whole(x) for x in answer.path]
    start = states[0] if states else given
    frames = [_draw(pieces, given, answer)] * HOLD
    for step in range(1, GATHER + 1):
        share = step / GATHER
        frames.append(_draw(pieces, (1 - share) * given + share * start, answer))
    frames += [_draw(pieces, state, answer) for state in states[1:]]
    placed = poses(answer.cells, answer.turns, answer.size)
    return [*frames, *[_draw(pieces, placed, answer)] * HOLD]


def _whole(state: Float[np.ndarray, "p d"]) -> Float[np.ndarray, "p 4"]:
    """Poses with a turn, which is none where they have none."""
    if state.shape[1] == 4:
        return state
    return np.concatenate([state, np.tile([1.0, 0.0], (len(state), 1))], -1)


def _draw(
    pieces: list[Image.Image], state: Float[np.ndarray, "p 4"], answer: Answer
) -> UInt8[np.ndarray, "h w 3"]:
    side, size = pieces[0].width, answer.size
    border = round(side * _BORDER)
    shape = (size.columns * side + 2 * border, size.rows * side + 2 * border)
    canvas = Image.new("RGB", shape, _GROUND)
    for piece, (u, v, cosine, sine) in zip(pieces, state, strict=True):
        angle = math.degrees(math.atan2(sine, cosine))
        turned = piece.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
        x = border + ((u + 1) / 2 * (size.columns - 1) + 0.5) * side
        y = border + ((v + 1) / 2 * (size.rows - 1) + 0.5) * side
        canvas.paste(turned, (round(x - turned.width / 2), round(y - turned.height / 2)), turned)
    return np.asarray(canvas)
