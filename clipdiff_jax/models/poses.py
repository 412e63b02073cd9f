"""A network that denoises the poses of pieces: each piece is a node of a graph.

DiffAssemble (Scarpellini et al. 2024, arXiv 2402.19302, section 3). With f_i the features of a
piece, which do not depend on the time, and x_i its noisy pose at time t,

    h_i = MLP(f_i, MLP(x_i), e_t, e_size)                                                  (1)
    g   = attention over the graph, several layers                                         (2)
    out_i = head(g_i)

Eq. 2 is masked dense attention: a piece looks at those it has an edge to, and at virtual nodes,
learned vectors that every piece of a puzzle sees and that see every piece of it. Beside the paper's
terms the network is told how many rows and columns there are (e_size), since with pieces missing
their number does not say it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pieces import SquareEncoder, SquaresConfig, as_levels
from clipdiff_jax.models.points import OUTPUT, PointEncoder, PointsConfig, as_pose, as_state
from clipdiff_jax.models.transformer import Transformer

POSE_WIDTH, TIME_WIDTH, SIZE_WIDTH = 32, 32, 16
PAPER_SCHEDULE = DiscreteSchedule(num_steps=300)


class Graph(NamedTuple):
    """What is known of the pieces of B puzzles while their poses are denoised.

    Attributes:
      features: of each piece.
      mask: which pieces are there.
      size: rows and columns; None for fragments.
      edges: which pieces see each other; None for all.
    """

    features: Float[Array, "b p f"]
    mask: Bool[Array, "b p"]
    size: Int[Array, "b 2"] | None = None
    edges: Bool[Array, "b p p"] | None = None


@dataclass(frozen=True)
class PosesConfig:
    """Describes a model of poses.

    Attributes:
      encoder: of the pieces.
      width, depth, heads, mlp_width: of the transformer.
      virtual_nodes: learned nodes that every piece sees.
      max_pieces: of a puzzle; smaller ones are filled up to it, so that one program does all.
      schedule: of the noise; the paper's has 300 steps.
      grids: that it was trained on, which training writes; of others it warns.
    """

    encoder: SquaresConfig | PointsConfig = field(default_factory=SquaresConfig)
    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_width: int = 256
    virtual_nodes: int = 0
    max_pieces: int = 16
    schedule: DiscreteSchedule = PAPER_SCHEDULE
    grids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "mlp_width"):
            whole_number(name, getattr(self, name), low=1)
        whole_number("virtual_nodes", self.virtual_nodes, low=0)
        whole_number("max_pieces", self.max_pieces, low=2)
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} does not split into {self.heads} heads")

    @property
    def squares(self) -> SquaresConfig:
        """The encoder of square pieces. Raises `ValueError` for a model of solids."""
        if not isinstance(self.encoder, SquaresConfig):
            raise ValueError("this model joins fragments of solids, not pieces of a picture")
        return self.encoder

    @property
    def on_so3(self) -> bool:
        """Whether rotations are denoised on the group, see `diffusion.so3`."""
        return isinstance(self.encoder, PointsConfig) and self.encoder.rotation == "so3"


class PoseNetwork(nn.Module):
    """`encode` describes pieces once, `__call__` predicts their clean poses at a time."""

    config: PosesConfig
    dtype: DType | None = None

    def setup(self) -> None:
        config, dense = self.config, lambda width: nn.Dense(width, dtype=self.dtype)
        self.encoder: PointEncoder | SquareEncoder
        if isinstance(config.encoder, PointsConfig):
            self.encoder = PointEncoder(config.encoder, dtype=self.dtype)
        else:
            self.encoder = SquareEncoder(config.encoder, dtype=self.dtype)
        self.pose_in, self.pose_out = dense(POSE_WIDTH // 2), dense(POSE_WIDTH)
        self.time = nn.Embed(config.schedule.num_steps, TIME_WIDTH, dtype=self.dtype)
        self.size = dense(SIZE_WIDTH)
        self.join_in, self.join_out = dense(config.width), dense(config.width)
        if config.virtual_nodes:
            init, shape = nn.initializers.normal(0.02), (config.virtual_nodes, config.width)
            self.virtual = self.param("virtual", init, shape, jnp.float32)
        self.transformer = Transformer(
            config.depth, config.heads, config.mlp_width, dtype=self.dtype
        )
        self.norm = nn.LayerNorm(dtype=self.dtype)
        solid = isinstance(config.encoder, PointsConfig)
        self.head_in = dense(POSE_WIDTH)
        self.head_out = dense(OUTPUT if solid else config.encoder.pose)

    def encode(
        self, pieces: UInt8[Array, "b p s s 3"] | Float[Array, "b p m 3"]
    ) -> Float[Array, "b p f"]:
        """Features of square pieces, or of fragments."""
        batch, count = pieces.shape[:2]
        levels = pieces if isinstance(self.config.encoder, PointsConfig) else as_levels(pieces)
        flat = levels.reshape(batch * count, *pieces.shape[2:])
        return self.encoder(flat).reshape(batch, count, -1)

    def __call__(
        self, x_t: Float[Array, "b p d"], t: Int[Array, " b"], graph: Graph
    ) -> Float[Array, "b p d"]:
        """The clean poses x0 of noisy ones at times t."""
        batch, count = x_t.shape[:2]
        pose = self.pose_out(nn.gelu(self.pose_in(x_t)))
        whole = self.time(t)
        if graph.size is not None:
            pitch = 2 / jnp.maximum(graph.size - 1, 1).astype(jnp.float32)
            whole = jnp.concatenate([whole, self.size(pitch).astype(whole.dtype)], -1)
        spread = jnp.broadcast_to(whole[:, None], (batch, count, whole.shape[-1]))
        known = jnp.concatenate([graph.features, pose, spread], -1)
        h = self.join_out(nn.gelu(self.join_in(known)))
        nodes = self.config.virtual_nodes
        if nodes:
            virtual = self.virtual.astype(h.dtype)
            h = jnp.concatenate([h, jnp.broadcast_to(virtual, (batch, *virtual.shape))], 1)
        g = self.transformer(h, visible(graph, nodes)[:, None])[:, :count]
        out = self.head_out(nn.gelu(self.head_in(self.norm(g)))).astype(jnp.float32)
        encoder = self.config.encoder
        # A rotation before it becomes a prediction, so that every step sees one.
        return as_state(as_pose(out), encoder) if isinstance(encoder, PointsConfig) else out

    def initialise(self, pieces: Array, x_t: Array, t: Array, graph: Graph) -> Array:
        """Both, so that `init` makes the parameters of both."""
        return self(x_t, t, graph._replace(features=self.encode(pieces)))


def visible(graph: Graph, virtual_nodes: int = 0) -> Bool[Array, "b n n"]:
    """Which of the pieces and virtual nodes look at which.

    Padding is seen by nobody, and sees itself, so that its softmax is of something.
    """
    mask, edges = graph.mask, graph.edges
    both = mask[:, :, None] & mask[:, None, :]
    if edges is not None:
        both &= edges | jnp.eye(mask.shape[1], dtype=bool)
    if virtual_nodes:
        grown = jnp.pad(mask, ((0, 0), (0, virtual_nodes)), constant_values=True)
        all_virtual = grown[:, :, None] & grown[:, None, :]
        both = all_virtual.at[:, : mask.shape[1], : mask.shape[1]].set(both)
    return both | jnp.eye(both.shape[1], dtype=bool)


def init_params(config: PosesConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32)."""
    count, encoder = config.max_pieces, config.encoder
    solid = isinstance(encoder, PointsConfig)
    if isinstance(encoder, PointsConfig):
        pieces = jnp.zeros((1, count, encoder.points, 3))
    else:
        pieces = jnp.zeros((1, count, encoder.piece, encoder.piece, 3), jnp.uint8)
    graph = Graph(
        features=jnp.zeros((1, count, config.encoder.features)),
        mask=jnp.ones((1, count), bool),
        size=None if solid else jnp.full((1, 2), 2, jnp.int32),
    )
    x_t, t = jnp.zeros((1, count, config.encoder.pose)), jnp.zeros(1, jnp.int32)
    network = PoseNetwork(config)
    return network.init(key, pieces, x_t, t, graph, method="initialise")["params"]
