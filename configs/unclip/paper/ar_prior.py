"""The autoregressive prior at the size of the paper (Ramesh et al. 2022, table 3).

    python train.py --config configs/unclip/paper/ar_prior.py --workdir runs/paper/ar_prior

The transformer has 0.81B parameters. The paper's reads a text encoder of its own (256 tokens,
width 2048, 24 blocks: 1.2B more) in a context of 384; here it reads the 77 states of CLIP's text
transformer, so that its context is 77 + 2 + 318. The CLIP is the open one that is closest to the
paper's, whose embeddings are 1024 wide. It has not been trained with this file. The embeddings come
first, by `python -m clipdiff_jax.embed`; for several GPUs, add --config.train.mesh.fsdp=8.
"""

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.stages import RunConfig
from clipdiff_jax.stages.ar_prior import ARPriorStage
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.optim import OptimConfig


def get_config() -> RunConfig:
    network = ARPriorConfig(
        embedding_width=1024,
        hidden_width=1024,
        text_length=77,
        dims=319,
        buckets=1024,
        dot_buckets=1024,
        width=1664,
        depth=24,
        heads=26,
    )
    return RunConfig(
        stage=ARPriorStage(
            data=EmbeddingsData("data/embeddings"),
            clip="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            model=network,
            drop_text=0.1,
            remat=True,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1_000_000,
            batch_size=4096,
            ema=0.999,
            workers=8,
            log_every=100,
            export_every=10_000,
            optim=OptimConfig(
                learning_rate=1.6e-4, b1=0.9, b2=0.91, eps=1e-10, weight_decay=4e-2, warmup=5000
            ),
            checkpoint=CheckpointConfig(every=5000, keep=2, keep_every=100_000),
        ),
    )
