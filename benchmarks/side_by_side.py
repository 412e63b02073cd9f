"""What the comparisons with PyTorch share: two processes, medians, a table."""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

Side = Callable[[argparse.Namespace], dict]


def compare(parser: argparse.ArgumentParser, ours: Side, torch: Side, rows: dict[str, str]) -> None:
    """Runs both sides and prints a markdown table of `rows` (name -> unit) with the ratios.

    Each side has a process of its own: its peak memory is then its own, and threads do not fight.
    """
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--side", choices=("ours", "torch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"ours": ours, "torch": torch}[args.side](args)))
        return
    results = {}
    for side in ("ours", "torch"):
        command = [sys.executable, *sys.argv, "--side", side]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[side] = json.loads(done.stdout.splitlines()[-1])
    mine, theirs = results["ours"], results["torch"]
    print("| | ours | PyTorch | ours / PyTorch |\n|---|---|---|---|")
    for name, unit in rows.items():
        a, b = mine[name], theirs[name]
        print(f"| {name} | {a:.3f} {unit} | {b:.3f} {unit} | {a / b:.2f} |")
    print(f"\nours on {mine['device']}, PyTorch on {theirs['device']}; medians of {args.repeat}")


def median(call, repeat: int) -> float:
    """Seconds of a call that waits for its result; the first one is not counted."""
    call()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_memory() -> float:
    """MiB that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
