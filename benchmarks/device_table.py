"""The results of `benchmarks/device.py` as a table in markdown."""

from typing import Any

SIDES = ("ours", "diffusers", "diffusers compiled")
NETWORKS = ("celebahq", "decoder", "upsampler", "prior")


def table(results: dict[str, Any]) -> str:
    """The results as markdown: networks beside each other, then the rest."""
    rate = results.get("matmul", {}).get("rate")
    lines = [f"On {results.get('device', 'this machine')}."]
    if rate:
        lines[0] += f" A large product in bfloat16 reaches {rate / 1e12:.3g} TFLOP/s."
    lines += ["", "| network | what | ours | diffusers | compiled | share of the product's rate |"]
    lines.append("|---|---|---|---|---|---|")
    for network in NETWORKS:
        each = [results.get(f"{network}, {side}", {}) for side in SIDES]
        for what in ("forward", "step"):
            if what not in each[0]:
                continue
            said = [f"{one[what] * 1e3:.1f} ms" if what in one else "" for one in each]
            flops = each[0].get(f"{what} FLOPs")
            share = f"{flops / each[0][what] / rate:.0%}" if rate and flops else ""
            lines.append(
                f"| {network}, {each[0]['batch']} | {what} | {' | '.join(said)} | {share} |"
            )
    lines += ["", "| attention, BxTxHxD | forward | gradient |", "|---|---|---|"]
    for name, one in results.get("attention", {}).items():
        if isinstance(one, dict):
            lines.append(
                f"| {name} | {one['forward'] * 1e6:.0f} us | {one['gradient'] * 1e6:.0f} us |"
            )
    if "edit" in results and "error" not in results["edit"]:
        one = results["edit"]
        lines += ["", f"An edit: {one['learning, a picture']:.3g} s a picture to learn, "]
        lines[-1] += (
            f"{one['applying, a picture']:.3g} s a picture to apply in {one['steps']} steps."
        )
    failed = {n: r["error"] for n, r in results.items() if isinstance(r, dict) and "error" in r}
    lines += [f"\n- {name}: {error}" for name, error in failed.items()]
    return "\n".join(lines) + "\n"
