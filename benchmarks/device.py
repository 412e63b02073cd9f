"""What this machine's accelerator does with our networks, beside diffusers' on the same machine.

    python benchmarks/device.py                      everything, within nine minutes
    python benchmarks/device.py --only matmul attention
    python benchmarks/device.py --tiny --out /tmp/d  a rehearsal at tiny sizes, on any machine

Nothing is downloaded: weights are random. Each measurement has a process of its own, so that its
peak memory is its own and a failure costs no other: ours, then diffusers as it is, then diffusers
compiled by torch.compile. What is done is in benchmarks/results/DEVICE.json at once, and what does
not fit in the time is left out and named. Needs the extra `[parity]` for the other side.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from device_table import NETWORKS, SIDES, table
from side_by_side import median

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SECONDS = 540  # of the whole call
LEAST = 20  # seconds below which nothing more is begun
TOKENS = 81  # of the decoder's context


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    matmul: int = 8192
    attention: tuple[tuple[int, int, int, int], ...] = (  # B, T, heads, width
        (64, 256, 8, 64),
        (16, 1024, 8, 64),
        (64, 257, 16, 64),
        (64, 77, 12, 64),
        (16, 4096, 5, 64),
    )
    batch: int = 32
    steps: int = 10  # of sampling, and of an edit
    repeat: int = 10
    tiny: bool = False


TINY = Sizes(64, ((2, 6, 2, 8), (2, 7, 2, 8)), batch=2, steps=2, repeat=2, tiny=True)


def measure(function: Any, *arguments: Any, repeat: int) -> float:
    """Seconds of a jitted function."""
    import jax

    return median(lambda: jax.block_until_ready(function(*arguments)), repeat)


def peak_memory() -> int | None:
    """Bytes of the accelerator that jax has had at most; None where it does not say."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    return None if not stats else stats.get("peak_bytes_in_use")


def flops_of(function: Any, *arguments: Any) -> int:
    from clipdiff_jax.training.targets.flops import count_flops

    return count_flops(function.trace(*arguments).jaxpr).total


def matmul(sizes: Sizes) -> dict[str, Any]:
    """The rate of a large product in bfloat16: what shares are taken of."""
    import jax
    import jax.numpy as jnp

    n = sizes.matmul
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    return {"rate": flops_of(product, a) / measure(product, a, repeat=sizes.repeat)}


def attention(sizes: Sizes) -> dict[str, Any]:
    """Forward and gradient of attention in bfloat16, by shape and kernel."""
    import jax
    import jax.numpy as jnp

    from clipdiff_jax.models.attention import attend

    found: dict[str, Any] = {}
    kernels = ("xla", "cudnn") if jax.default_backend() == "gpu" else ("xla",)
    for shape in sizes.attention:
        q = jax.random.normal(jax.random.key(0), shape, jnp.bfloat16)
        for kernel in kernels:

            def loss(q: Any, kernel: Any = kernel) -> Any:
                return attend(q, q, q, backend=kernel).astype(jnp.float32).sum()

            forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
            found[f"{'x'.join(map(str, shape))} {kernel}"] = {
                "forward": measure(forward, q, repeat=sizes.repeat),
                "gradient": measure(gradient, q, repeat=sizes.repeat),
            }
    return found


def config_of(network: str, sizes: Sizes) -> tuple[Any, int]:
    """A published network, or a few channels of it, and the side of its pictures."""
    from clipdiff_jax.models import presets

    if network == "prior":
        config = presets.KARLO_PRIOR.network
        return (replace(config, width=16, depth=1, heads=2) if sizes.tiny else config), 0
    whole, side = {
        "celebahq": (presets.DDPM_256.unet, 256),
        "decoder": (presets.KARLO_DECODER.network, 64),
        "upsampler": (presets.KARLO_UPSAMPLER.network, 256),
    }[network]
    if not sizes.tiny:
        return whole, side
    few = {"channels": tuple(32 for _ in whole.channels), "blocks": 1}  # as deep as it is
    if whole.head_width is not None:
        few["head_width"] = 16
    if network == "decoder":
        few |= {"pooled_width": 128, "context_width": 48}
    return replace(whole, **few), 32


def inputs_of(network: str, config: Any, side: int, batch: int) -> dict[str, np.ndarray]:
    """x, t and the rest, as our networks take them."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    t = np.full((batch,), 500, np.int32)
    if network == "prior":
        width, length = config.embedding_width, config.text_length
        return {
            "x": normal(batch, width), "t": t, "embedding": normal(batch, width),
            "hidden": normal(batch, length, config.text_width),
            "mask": np.ones((batch, length), bool),
        }  # fmt: skip
    given = {"x": normal(batch, side, side, config.in_channels), "t": t}
    if network == "decoder":
        given["pooled"] = normal(batch, config.pooled_width)
        given["context"] = normal(batch, TOKENS, config.context_width)
    return given


def ours(network: str, sizes: Sizes) -> dict[str, Any]:
    """Our network in bfloat16: forward, and of the CelebA-HQ UNet a train step."""
    import jax
    import jax.numpy as jnp
    import optax

    from clipdiff_jax.models.diffusion_prior import DiffusionPrior
    from clipdiff_jax.models.unet import UNet

    config, side = config_of(network, sizes)
    given = jax.tree.map(jnp.asarray, inputs_of(network, config, side, sizes.batch))
    x, t = given.pop("x"), given.pop("t")
    if network == "prior":
        given["tokens"] = jnp.zeros(given["mask"].shape, jnp.int32)
    module: Any = (DiffusionPrior if network == "prior" else UNet)(config, dtype=jnp.bfloat16)
    cond = given or None
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, t, cond)["params"])
    rng = np.random.default_rng(0)
    draw = lambda leaf: (0.02 * rng.normal(size=leaf.shape)).astype(np.float32)
    params = jax.tree.map(draw, shapes)
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), params)
    forward = jax.jit(lambda p, x: module.apply({"params": p}, x, t, cond))
    found = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "batch": sizes.batch,
        "forward": measure(forward, half, x, repeat=sizes.repeat),
        "forward FLOPs": flops_of(forward, half, x),
        "forward memory": peak_memory(),
    }
    if network != "celebahq":
        return found
    optimizer = optax.adam(1e-4)

    def loss(p: Any) -> Any:
        return jnp.mean((module.apply({"params": p}, x, t) - x) ** 2)

    def step(p: Any, opt: Any) -> Any:
        updates, opt = optimizer.update(jax.grad(loss)(p), opt, p)
        return optax.apply_updates(p, updates), opt

    jitted = jax.jit(step, donate_argnums=(0, 1))
    flops = flops_of(jitted, params, optimizer.init(params))
    state = jax.device_put((params, optimizer.init(params)))

    def again() -> Any:
        nonlocal state
        state = jitted(*state)
        return jax.block_until_ready(state)

    seconds = median(again, sizes.repeat)
    return found | {"step": seconds, "step FLOPs": flops, "step memory": peak_memory()}


def theirs(network: str, sizes: Sizes, compiled: bool) -> dict[str, Any]:
    """The same network of diffusers in bfloat16."""
    import torch
    from diffusers import PriorTransformer, UNet2DConditionModel, UNet2DModel

    from clipdiff_jax.weights.layouts import decoder_diffusers, prior_diffusers, unet_diffusers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config, side = config_of(network, sizes)
    kind, document = {
        "prior": (PriorTransformer, lambda: prior_diffusers.write_config(config)),
        "decoder": (UNet2DConditionModel, lambda: decoder_diffusers.write_config(config, side)),
    }.get(network, (UNet2DModel, lambda: unet_diffusers.write_config(config, side)))
    options = {n: v for n, v in document().items() if not n.startswith("_")}
    module = kind(**options).to(device)
    given = inputs_of(network, config, side, sizes.batch)
    given = {name: torch.tensor(array, device=device) for name, array in given.items()}
    x, t = given.pop("x"), given.pop("t")
    if network == "prior":
        call = lambda m, x: m(x, t, given["embedding"], given["hidden"], given["mask"])[0]
    else:
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        module = module.to(memory_format=torch.channels_last)
        extra = (given["context"], given["pooled"]) if network == "decoder" else ()
        call = lambda m, x: m(x, t, *extra).sample

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def most() -> int | None:
        return torch.cuda.max_memory_allocated() if device == "cuda" else None

    run = torch.compile(module) if compiled else module

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            call(run, x)
        wait()

    found = {
        "batch": sizes.batch,
        "forward": median(forward, sizes.repeat),
        "forward memory": most(),
    }
    if network != "celebahq":
        return found
    optimizer = torch.optim.Adam(module.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = ((call(run, x) - x) ** 2).mean()
        loss.backward()
        optimizer.step()
        wait()

    return found | {"step": median(step, sizes.repeat), "step memory": most()}


def edit(sizes: Sizes) -> dict[str, Any]:
    """An edit in bfloat16 with random weights: seconds to learn a step, and to apply to a batch."""
    import jax

    import clipdiff_jax as cd
    from clipdiff_jax.clip.model import Clip
    from clipdiff_jax.data.tokenize import train_tokenizer
    from clipdiff_jax.edit.model import Edit
    from clipdiff_jax.edit.objective import EditObjective
    from clipdiff_jax.edit.stage import make_stage
    from clipdiff_jax.models import presets
    from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
    from clipdiff_jax.models.clip import init_params as init_clip
    from clipdiff_jax.models.pixel import DiffusionConfig, init_params
    from clipdiff_jax.training.config import TrainConfig
    from clipdiff_jax.training.loop import fit

    unet, side = config_of("celebahq", sizes)
    config, judge = DiffusionConfig(unet, image_size=side), presets.CLIP_VIT_B16
    if sizes.tiny:
        vision = VisionTransformerConfig(16, 8, width=16, depth=1, heads=2, mlp_width=32)
        text = TextConfig(520, 12, width=16, depth=1, heads=2, mlp_width=32)
        judge = CLIPConfig(vision, text, projection_dim=8)
    tokenizer = train_tokenizer(["a face", "a smiling face"], 520, judge.text.context_length)
    judge = replace(judge, text=replace(judge.text, eos_token_id=tokenizer.end_id))
    base = cd.Diffusion(config, jax.jit(lambda key: init_params(config, key))(jax.random.key(0)))
    # XLA:CPU has no kernel for some products of bfloat16, and a rehearsal may be on one.
    dtype = jax.numpy.float32 if sizes.tiny else jax.numpy.bfloat16
    base = replace(base, dtype=dtype)
    params = jax.jit(lambda key: init_clip(judge, key))(jax.random.key(1))
    clip = Clip(judge, params, tokenizer, dtype)
    images = np.zeros((4, side, side, 3), np.float32)
    objective = EditObjective(
        source_text="a face", target_text="a smiling face", t0=400,
        train_steps=2 if sizes.tiny else 6, invert_steps=40,
    )  # fmt: skip
    stage = make_stage(objective, base, clip, images, invert=False, progress=False)
    seconds = []
    for steps in (1, 1 + sizes.steps):  # the difference is without compiling
        start = time.perf_counter()
        jax.block_until_ready(fit(stage, TrainConfig(steps=steps, batch_size=1)).params)
        seconds.append(time.perf_counter() - start)
    learned = Edit(config, base.params, objective, "")
    apply = lambda: jax.block_until_ready(cd.edit(images, base, learned, steps=sizes.steps))
    return {
        "learning, a picture": (seconds[1] - seconds[0]) / sizes.steps,
        "applying, a picture": median(apply, 2) / len(images),
        "steps": sizes.steps,
        "memory": peak_memory(),
    }


def sections() -> dict[str, Callable[[Sizes], dict[str, Any]]]:
    """By name, in the order in which they are measured."""
    of_networks: dict[str, Callable[[Sizes], dict[str, Any]]] = {}
    for one in NETWORKS:
        of_networks[f"{one}, ours"] = lambda sizes, one=one: ours(one, sizes)
        for side in SIDES[1:]:
            of_networks[f"{one}, {side}"] = lambda sizes, one=one, side=side: theirs(
                one, sizes, side == SIDES[2]
            )
    return {"matmul": matmul, "attention": attention, **of_networks, "edit": edit}


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Each section in a process of its own, until the time is over."""
    end = time.monotonic() + args.seconds
    results: dict[str, Any] = {}
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only or sections():
        left = end - time.monotonic()
        if left < LEAST:
            results[name] = {"error": "no time was left"}
        else:
            command = [sys.executable, __file__, "--section", name, *["--tiny"] * args.tiny]
            results |= _result(name, command, left)
        (args.out / "DEVICE.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


def _result(name: str, command: list[str], seconds: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {name: {"error": f"not done in {seconds:.0f} s"}}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["ended without a word"]
        return {name: {"error": said[-1][:300]}}
    reply = json.loads(done.stdout.strip().splitlines()[-1])
    return {name: reply["found"]} | ({"device": reply["device"]} if reply["device"] else {})


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an accelerator; see the docstring.")
    parser.add_argument("--only", nargs="+", choices=list(sections()), help="these sections alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"in all ({SECONDS})")
    parser.add_argument("--tiny", action="store_true", help="at tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for DEVICE.json")
    parser.add_argument("--section", choices=list(sections()), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.section is None:
        results = run_all(args)
        (args.out / "DEVICE.md").write_text(table(results))
        print(table(results))
        return
    found = sections()[args.section](TINY if args.tiny else Sizes())
    device = ""
    if not args.section.endswith(SIDES[1:]):
        import jax

        device = jax.devices()[0].device_kind
    print(json.dumps({"found": found, "device": device}))


if __name__ == "__main__":
    main()
