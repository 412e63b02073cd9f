"""Damages good files in every way and reads them: what may come of it is a model, or one error that
names the file.

    cd tests && python -m helpers.fuzz --count 20000

Files: safetensors, torch's in both formats, indices of shards, configs and weights of our own and
of foreign model folders, schedulers, image processors, tokenizers, pictures with records,
manifests, statistics, edits. Damage: of bytes (`helpers.damage`), of JSON (huge numbers, nests,
keys twice, other types), of a pickle's instructions in a sound archive, of a PNG's text in a sound
chunk.

A fault is: anything executed (Python's audit events), an exception that is no `ValueError` or
`OSError` or does not name the file, more than 5 s of processor time, and more memory than ten times
the file and 200 MB. Every case is repeated by its number: `--seed N --count 1`.
"""

import argparse
import functools
import io
import json
import logging
import pickletools
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors.numpy import save_file

from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.data.tokenize import load_tokenizer, train_tokenizer
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.metrics.fid import load_statistics
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pictures.records import add_to_manifest, read_records, save_picture
from clipdiff_jax.pixel.load import load_diffusion, save_diffusion
from clipdiff_jax.weights.layout import ClipWeights, DiffusionWeights
from clipdiff_jax.weights.layouts import clip_transformers, pixel_diffusers
from clipdiff_jax.weights.layouts.unclip_ours import read_part_folder
from clipdiff_jax.weights.read import open_tensors
from helpers.damage import OF_BYTES
from helpers.tiny_models import drawn, tiny_base, tiny_clip, write_unclip
from helpers.torch_files import Call, Fake, pickled, tensor, write_legacy, write_zip

SECONDS, TIMES, MEBIBYTES = 5.0, 10, 200
MERGES = ("vocab.json", "merges.txt", "added_tokens.json")
HUGE = ("1e308", "-1", "0", "1000000000", "9" * 30, "9" * 5000, "1.5", "NaN", "-Infinity", "null")
VALUES = ("[]", "{}", '""', "true", '"x"', "[" * 100_000, '{"a":' * 5000, "[[1]]", '{"type": "X"}')


class Target(NamedTuple):
    """A kind of file: what is copied, which file in it is damaged, and what reads it.

    share: of the cases; models take longer to read than files.
    """

    name: str
    folder: Path
    file: str
    read: Callable[[Path], Any]
    share: float = 1.0


class Hung(BaseException):
    """More processor time than a file may take."""


def make_targets(root: Path) -> list[Target]:
    """Writes a good file of each kind."""
    rng = np.random.default_rng(0)
    arrays = {f"a.{i}.weight": rng.normal(size=(4, 6)).astype(np.float32) for i in range(6)}
    files = root / "files"
    files.mkdir()
    save_file(arrays, files / "x.safetensors")
    state = {f"a.{i}": tensor("0", (2, 3), (3, 1)) for i in range(5)}
    both = {"model": state, "ema": state, "epoch": 3}
    evil = {"a": tensor("0", (6,), (1,)), "b": Call(Fake("os", "system"), "true")}
    numbers = {"0": np.arange(6, dtype=np.float32)}
    for name, tree in (("one", state), ("both", both), ("evil", evil)):
        write_zip(files / f"{name}.pt", tree, numbers)
        write_legacy(files / f"{name}.bin", tree, numbers)
    index = {"metadata": {}, "weight_map": dict.fromkeys(arrays, "x.safetensors")}
    (files / "model.safetensors.index.json").write_text(json.dumps(index))
    record = {"command": "edit", "file": "a.png", "seed": 3, "edits": ["x"], "strength": 1.5}
    save_picture(files / "a.png", np.zeros((4, 4, 3), np.float32), record)
    add_to_manifest(files, [record, record | {"file": "b.png"}])
    np.savez(files / "s.npz", mu=np.zeros(3), sigma=np.eye(3), count=np.int64(9))
    base, clip = tiny_base(), tiny_clip()
    save_diffusion(root / "ours", base.config, base.params)
    unet = UNetConfig(channels=(8, 8), blocks=1, attention_levels=(), norm_groups=4)
    theirs = DiffusionConfig(unet=unet, image_size=16)
    params = drawn(functools.partial(init_params, theirs), 0)
    pixel_diffusers.write(root / "diffusers", DiffusionWeights(theirs, params))
    clip_transformers.write(root / "clip", ClipWeights(clip.config, clip.params, clip.tokenizer))
    tokenizer = train_tokenizer(["a face", "a smiling face"], 520, 12)
    (root / "bpe").mkdir()
    for name, content in tokenizer.files().items():
        (root / "bpe" / name).write_bytes(content)
    shutil.copytree(root / "bpe", root / "merges")
    model = json.loads((root / "bpe" / "tokenizer.json").read_text())["model"]
    (root / "merges" / "tokenizer.json").unlink()
    (root / "merges" / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (root / "merges" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (root / "merges" / "added_tokens.json").write_text(json.dumps({"<new>": len(model["vocab"])}))
    objective = EditObjective(source_text="a face", target_text="a smile", t0=300)
    Edit(base.config, base.params, objective, "").save(root / "edit")
    write_unclip(root / "unclip")
    single = [f for f in ("x.safetensors", "one.pt", "both.pt", "evil.pt", "one.bin", "both.bin")]
    named = [Target(f, files, f, lambda p: open_tensors(p), 2) for f in [*single, "evil.bin"]]
    part = [
        Target(f"{name}/config.json", root / "unclip" / name, "config.json", _part(name), 0.05)
        for name in ("prior", "decoder", "direct_prior", "ar_prior")
    ]
    of_models = [
        Target(f"{folder.name}/{name}", folder, name, lambda p, read=read: read(p.parent), share)
        for folder, names, read, share in (
            (root / "ours", ("config.json", "model.safetensors"), load_diffusion, 0.06),
            (
                root / "diffusers",
                ("config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"),
                load_diffusion,
                0.06,
            ),
            (
                root / "clip",
                ("config.json", "preprocessor_config.json", "tokenizer_config.json"),
                load_clip,
                0.06,
            ),
            (root / "edit", ("config.json", "model.safetensors"), load_edit, 0.06),
            (root / "bpe", ("tokenizer.json", "tokenizer_config.json"), load_tokenizer, 0.4),
            (
                root / "merges",
                ("vocab.json", "merges.txt", "added_tokens.json"),
                load_tokenizer,
                0.5,
            ),
        )
        for name in names
    ]
    return [
        *named,
        Target("index", files, "model.safetensors.index.json", lambda p: open_tensors(p), 2),
        Target("picture", files, "a.png", read_records, 2),
        Target("manifest", files, "manifest.jsonl", read_records, 2),
        Target("statistics", files, "s.npz", load_statistics),
        *part,
        *of_models,
    ]


def _part(name: str) -> Callable[[Path], Any]:
    return lambda path: read_part_folder(path.parent, name)


def damaged(rng: random.Random, file: Path, data: bytes, other: bytes) -> bytes:
    """The content of a file, damaged one to three times."""
    kinds: list[Callable[..., bytes]] = list(OF_BYTES)
    if file.suffix in (".json", ".jsonl"):
        kinds += [json_damage] * 20
    if file.suffix == ".safetensors":
        kinds += [header_damage] * 12
    if file.suffix in (".pt", ".npz"):
        kinds += [member_damage] * 12
    if file.suffix == ".bin":
        kinds += [pickle_damage] * 6
    if file.suffix == ".png":
        kinds += [chunk_damage] * 12
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(kinds)(rng, data, other) if data else data
    return data


def json_damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A number, a value, a key of JSON replaced, or twice there, or a nest in its place."""
    text = data.decode("latin-1")
    kind = rng.randrange(5)
    numbers = list(re.finditer(r"(?<![\w\"])-?\d+(\.\d+)?([eE]-?\d+)?", text))
    keys = list(re.finditer(r'"[^"\\]{1,60}"\s*:', text))
    values = list(re.finditer(r'(?<=[:\[,])\s*("[^"\\]{0,60}"|true|false|null|[-\d.e]+)', text))
    places = {0: numbers, 1: numbers, 2: values, 3: keys, 4: keys}[kind] or [re.match("", text)]
    found = rng.choice(places)
    begin, end = found.span()
    new = {
        0: rng.choice(HUGE),
        1: str(rng.choice((1, -1)) * 10 ** rng.randrange(25)),
        2: rng.choice(VALUES),
        3: f"{found[0]} {rng.choice(VALUES + HUGE)}, {found[0]}",
        4: f'"{rng.choice(("x", "type", "_class_name", "é" * 3, "a/b"))}":',
    }[kind]
    return (text[:begin] + new + text[end:]).encode("latin-1", "replace")


def header_damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The header of safetensors damaged as JSON, and its length told rightly."""
    size = int.from_bytes(data[:8], "little")
    header = json_damage(rng, data[8 : 8 + size], other)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def member_damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A member of an archive damaged, in an archive as sound as before."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # damaged already
        return rng.choice(OF_BYTES)(rng, data, other)
    name = rng.choice([n for n in members if n.endswith(("pkl", "npy"))] or [*members, "x"])
    how = pickle_damage if name.endswith("pkl") else rng.choice(OF_BYTES)
    if rng.random() < 0.05:
        members["archive/byteorder"] = bytes(2**24)
    members[name] = how(rng, members.get(name, b"x") or b"x", other)
    packed = rng.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        for one, content in members.items():
            archive.writestr(one, content)
    return buffer.getvalue()


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def pickle_damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Instructions of a pickle put in, replaced, repeated; numbers made extreme."""
    at = rng.randrange(len(data))
    kind = rng.randrange(6)
    if kind == 0:
        return data[:at] + rng.choice(OPCODES) + data[at + 1 :]
    if kind == 1:
        return data[:at] + rng.choice(OPCODES) * rng.choice((1, 3, 1000, 200_000)) + data[at:]
    if kind == 2:  # what was built, referred to again and again
        memo = b"h" + bytes([rng.randrange(12)])
        return data[:at] + (b"](" + memo * 10 + b"eq" + bytes([rng.randrange(12)])) * 9 + data[at:]
    if kind == 3:
        numbers = [m.start() for m in re.finditer(rb"[JKM]", data)] or [0]
        where = rng.choice(numbers)
        return data[:where] + b"J" + struct.pack("<i", rng.choice((-1, 2**31 - 1))) + data[where:]
    if kind == 4:
        call = pickled(Call(Fake("os", "system"), "true"))[2:-1]
        return data[:at] + call + data[at:]
    return rng.choice(OF_BYTES)(rng, data, other)


def chunk_damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The text of a PNG replaced by another of ours, packed or not, in a sound chunk."""
    at = data.find(b"iTXt") - 4
    if at < 0:
        return rng.choice(OF_BYTES)(rng, data, other)
    size = int.from_bytes(data[at : at + 4], "big")
    text = data[at + 8 : at + 8 + size].partition(b"\0\0\0\0\0")[2] or b"{}"
    new = json_damage(rng, text, other)
    if rng.random() < 0.3:
        new = rng.choice((bytes(2**24), b"[" * 10**6, b"{}" * 3 * 10**5, b""))
    packed = rng.random() < 0.5
    body = b"clipdiff_jax\0" + bytes([packed]) + b"\0\0\0" + (zlib.compress(new) if packed else new)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return data[:at] + chunk + data[at + 12 + size :]


EXECUTED: list[str] = []
_FORBIDDEN = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "pickle.find_class",
)
WATCHING = [False]


def _audit(event: str, arguments: Any) -> None:
    if WATCHING[0] and event in _FORBIDDEN:
        EXECUTED.append(event)


def one_case(targets: list[Target], seed: int) -> tuple[str, str]:
    """(what came of it, what was read); what came of it begins with "fault" for one."""
    rng = random.Random(seed)
    target = rng.choices(targets, [one.share for one in targets])[0]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "x"
        copy.mkdir()
        for one in target.folder.iterdir():
            (copy / one.name).symlink_to(one)
        path = copy / target.file
        path.unlink()
        data = (target.folder / target.file).read_bytes()
        other = rng.choice(targets)
        content = damaged(rng, path, data, (other.folder / other.file).read_bytes())
        path.write_bytes(content)
        before = _resident()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        WATCHING[0] = True
        try:
            target.read(path)
            result = "read"
        except Hung:
            result = f"fault: more than {SECONDS} s"
        except (ValueError, OSError) as error:
            named = any(str(one) in str(error) for one in (path, copy))
            result = "refused" if named else f"fault: does not name it: {type(error)} {error}"
        except BaseException as error:
            result = f"fault: raised {type(error).__name__}: {str(error)[:300]}"
        finally:
            WATCHING[0] = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        used = (_resident("VmHWM") - before) / 2**20
        if EXECUTED:
            result = f"fault: executed {EXECUTED}"
            EXECUTED.clear()
        if used > TIMES * len(content) / 2**20 + MEBIBYTES:
            result = f"fault: {used:.0f} MiB for {len(content) / 2**20:.1f}"
    return result, target.name


def _resident(name: str = "VmRSS") -> int:
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name)]
    return int(line.split()[1]) * 1024


def _stop(*_: Any) -> None:
    raise Hung


def prepare() -> None:
    """Watches what is executed, and how long it takes."""
    sys.addaudithook(_audit)
    signal.signal(signal.SIGPROF, _stop)


def main() -> int:
    """Runs the cases; 1 where one was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    args = parser.parse_args()
    prepare()
    logging.getLogger("clipdiff_jax").setLevel(logging.CRITICAL)
    counts: Counter[str] = Counter()
    slowest, begun = 0.0, time.perf_counter()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        targets = make_targets(Path(folder))
        for seed in range(args.seed, args.seed + args.count):
            start = time.process_time()
            result, name = one_case(targets, seed)
            slowest = max(slowest, time.process_time() - start)
            counts[result.split(":")[0]] += 1
            if result.startswith("fault"):
                print(f"seed {seed}, {name}: {result[:600]}", flush=True)
            if seed % 1000 == 999:
                jax.clear_caches()
                print(f"{seed + 1}: {dict(counts)}, slowest {slowest:.1f} s", flush=True)
    took = f"{(time.perf_counter() - begun) / 60:.0f} minutes, the slowest {slowest:.1f} s"
    print(f"{args.count} damaged files: {dict(counts)}, in {took}")
    return int(counts["fault"] > 0)


if __name__ == "__main__":
    sys.exit(main())
