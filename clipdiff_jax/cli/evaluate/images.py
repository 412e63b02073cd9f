"""`clipdiff evaluate images`: a folder's pictures against reference pictures or statistics."""

import argparse
import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_reading_options,
    add_result_options,
    check_options,
    equal_squares,
    reading,
    table,
    write_results,
)
from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.core.files import cache_dir
from clipdiff_jax.metrics.features import (
    FeatureNetwork,
    Features,
    clip_network,
    compute_features,
    features_folder,
)
from clipdiff_jax.metrics.fid import (
    Statistics,
    load_statistics,
    save_statistics,
    statistics,
)
from clipdiff_jax.metrics.folders import Picture, list_pictures
from clipdiff_jax.metrics.inception_features import FILE, PUBLISHED, RESIZES, load_inception
from clipdiff_jax.metrics.registry import OF_SETS, measure_sets
from clipdiff_jax.metrics.uncertainty import Measured
from clipdiff_jax.pictures.grid import Grid, show
from clipdiff_jax.pictures.pages import spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how."""
    parser.add_argument("folder", type=Path, help="the pictures to be measured")
    parser.add_argument(
        "--reference", type=Path, required=True,
        help="a folder of pictures, or for FID alone an .npz of statistics (mu, sigma)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", nargs="+", choices=tuple(OF_SETS),
        help="which (default: cmmd, and with --inception all)",
    )  # fmt: skip
    parser.add_argument(
        "--inception", type=Path, metavar="FILE", help=f"the weights of FID's network: {FILE}"
    )
    parser.add_argument(
        "--resize", choices=RESIZES, default="clean",
        help="the resize before Inception: as in clean-fid (default) or pytorch-fid",
    )  # fmt: skip
    parser.add_argument("--clip", default="demo", help="of CMMD: 'demo', a folder, a repository")
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        help="random halves for the uncertainty of FID and CMMD (10)",
    )
    parser.add_argument(
        "--save-statistics", type=Path, metavar="FILE",
        help="also write the pictures' FID statistics, for use as a --reference",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all randomness (0)"
    )
    parser.add_argument(
        "--no-cache", action="store_true",
        help="compute all features anew, and keep none (default: by the pictures' content)",
    )  # fmt: skip
    add_reading_options(parser)
    add_result_options(parser, batch_size=32)


def run(args: argparse.Namespace) -> None:
    """`clipdiff evaluate images`."""
    check_options(args)
    wanted = _checked_metrics(args)
    pictures = list_pictures(args.folder, reading(args))
    of_statistics = args.reference.suffix == ".npz"
    reference = None if of_statistics else list_pictures(args.reference, reading(args))
    with ExitStack() as stack:
        cache = cache_dir() / "features"
        if args.no_cache:
            cache = Path(stack.enter_context(TemporaryDirectory()))
        found, networks = _measured(args, wanted, pictures, reference, cache)
    results = {
        "folder": str(args.folder),
        "pictures": len(pictures),
        "reference": str(args.reference),
        "reference_pictures": None if reference is None else len(reference),
        "metrics": {name: dataclasses.asdict(found[name]) for name in wanted},
        "networks": networks,
    }
    header = ["pictures", *(OF_SETS[name].title for name in wanted)]
    row = [str(len(pictures)), *(format(found[name], OF_SETS[name].digits) for name in wanted)]
    write_results(args.out, results, table(header, [row]), _grid(pictures, reference))


def _measured(
    args: argparse.Namespace,
    wanted: Sequence[str],
    pictures: Sequence[Picture],
    reference: Sequence[Picture] | None,
    cache: Path,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """The metrics by name, and the names of the networks that they are of."""
    found: dict[str, Measured] = {}
    networks: dict[str, str] = {}
    for network, metrics in _networks(args, wanted):
        networks |= dict.fromkeys(metrics, network.name)
        ours = _features(pictures, network, args.batch_size, cache)
        if reference is None:
            theirs: Features | Statistics = load_statistics(args.reference)
        else:
            theirs = _features(reference, network, args.batch_size, cache)
        found |= measure_sets(metrics, ours, theirs, rounds=args.rounds, seed=args.seed)
        if args.save_statistics and OF_SETS[metrics[0]].network == "inception":
            save_statistics(args.save_statistics, statistics(ours))
    return found, networks


class _Pictures:
    """Pictures as a `DataSource`, known by the content of their files, wherever those lie."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures
        whole = hashlib.sha256()
        for picture in pictures:
            whole.update(hashlib.sha256(picture.path.read_bytes()).digest())
        self.fingerprint = whole.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._pictures[index].read()}


def _features(
    pictures: Sequence[Picture], network: FeatureNetwork, batch_size: int, cache: Path
) -> Features:
    source = _Pictures(pictures)
    folder = features_folder(cache, source.fingerprint, network)
    return compute_features(source, network, folder, batch_size=batch_size)


def _checked_metrics(args: argparse.Namespace) -> list[str]:
    if args.metrics is None:
        known = ("clip",) if args.inception is None else ("clip", "inception")
        wanted = [name for name, metric in OF_SETS.items() if metric.network in known]
    else:
        wanted = list(dict.fromkeys(args.metrics))
    of_inception = [name for name in wanted if OF_SETS[name].network == "inception"]
    if of_inception and args.inception is None:
        raise ValueError(
            f"{', '.join(of_inception)} need --inception, the file {FILE}, which is published at "
            f"{PUBLISHED}"
        )
    if args.save_statistics and not of_inception:
        raise ValueError("--save-statistics writes those of FID's network: give --inception")
    if args.reference.suffix == ".npz" and not all(OF_SETS[one].of_statistics for one in wanted):
        raise ValueError(
            f"'{args.reference}' holds statistics, which are enough for --metrics fid alone; "
            f"asked for {', '.join(wanted)}"
        )
    return wanted


def _networks(
    args: argparse.Namespace, wanted: Sequence[str]
) -> list[tuple[FeatureNetwork, list[str]]]:
    """The networks that are needed, each with the metrics of its features."""
    load = {
        "inception": lambda: load_inception(args.inception, resize=args.resize),
        "clip": lambda: clip_network(load_clip(args.clip)),
    }
    chosen = {name: [one for one in wanted if OF_SETS[one].network == name] for name in load}
    return [(load[name](), metrics) for name, metrics in chosen.items() if metrics]


def _grid(pictures: Sequence[Picture], reference: Sequence[Picture] | None) -> Grid:
    """Some pictures of both, first to last."""
    count = min(SHOWN, len(pictures), len(reference or pictures))
    chosen = [[one.read() for one in spread(pictures, count)]]
    if reference is not None:
        chosen.append([one.read() for one in spread(reference, count)])
    return show(equal_squares(chosen), rows=["pictures", "reference"][: len(chosen)])
