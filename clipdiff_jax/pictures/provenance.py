"""Where a picture file says it comes from, and whether that can be believed.

    signed       it has a manifest, and every byte is as it was signed
    changed      it has a manifest, and something was changed afterwards
    stripped     its manifest was removed; its pixels are those that were signed
    encoded      it was encoded again after it was signed, and its manifest is gone
    labelled     it says that a model made it, unsigned: anyone may have written or changed that
    unread       it has a manifest, and c2pa-python is not here to read it
    silent       it says nothing: it never did, or all of it was removed

A manifest is of the file; once a picture was uploaded to where it is encoded again without its
metadata, only a watermark is left.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from clipdiff_jax.pictures.labels import URI, Label, pixels_digest, read_label, reading
from clipdiff_jax.pictures.signing import MIME, ProvenanceError, c2pa_module, context

State = Literal["signed", "changed", "stripped", "encoded", "labelled", "unread", "silent"]
_EXPIRED = "signingCredential.expired"
# What is wrong with the signer alone, whatever became of the bytes.
_SIGNERS = {
    "signingCredential.untrusted": "on no list of trust here",
    _EXPIRED: "that is over by now, so that when it was signed is not proven",
}
_BOXES = (b"caBX", b"C2PA", b"jumb")  # of a manifest in PNG, WebP and JPEG


@dataclass(frozen=True)
class Provenance:
    """What a file says of itself.

    Attributes:
      state: see above.
      words: the same in a sentence.
      source_type: IPTC's term, of the manifest where that holds, else of the label; None without.
      actions: of the manifest, such as "c2pa.created".
      signer: who the certificate says it is.
    """

    state: State
    words: str
    source_type: str | None = None
    actions: tuple[str, ...] = ()
    signer: str | None = None


def verify(path: str | Path) -> Provenance:
    """Reads what a picture says of where it comes from, and checks it as far as that goes.

    Raises `ValueError` or `OSError` for a file that is no picture. Nothing is fetched.
    """
    path = Path(path).expanduser()
    label = read_label(path)
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        kind = picture.format or ""
        if kind in MIME and any(box in content for box in _BOXES):
            found = _of_manifest(content, kind, label)
            if found is not None:
                return found
        if label is None:
            words = "says nothing of where it comes from: it never did, or that was removed"
            return Provenance("silent", words)
        if label.signed_pixels is None:
            words = "is labelled, unsigned: anyone may have written or changed that"
            return Provenance("labelled", words, label.source_type)
        with reading(path):
            same = label.signed_pixels == pixels_digest(picture)
        if same:
            words = "was signed and its manifest was removed; its pixels are those that were signed"
            return Provenance("stripped", words, label.source_type)
    words = "was encoded again, or changed, after it was signed, and its manifest is gone"
    return Provenance("encoded", words, label.source_type)


def _of_manifest(content: bytes, kind: str, label: Label | None) -> Provenance | None:
    """What a manifest says; None where there is none after all."""
    try:
        c2pa = c2pa_module()
    except ProvenanceError as error:
        source = None if label is None else label.source_type
        return Provenance("unread", f"seems to have a manifest, which is not read: {error}", source)
    try:
        reader = c2pa.Reader.try_create(MIME[kind], io.BytesIO(content), context=context(c2pa))
        if reader is None:
            return None
        with reader:
            said, state = json.loads(reader.json()), str(reader.get_validation_state())
    except c2pa.C2paError as error:
        words = f"has a manifest that is damaged: {' '.join(str(error).split())}"
        return Provenance("changed", words, None if label is None else label.source_type)
    active = said["manifests"][said["active_manifest"]]
    problems = [one["code"] for one in said.get("validation_status", ())]
    wrong = [code for code in problems if code not in _SIGNERS]
    actions = list(_actions(active))
    of = active.get("signature_info", {})
    signer = of.get("common_name") or of.get("issuer")
    about = (_source_type(actions), tuple(str(one.get("action")) for one in actions), signer)
    if wrong or (state == "Invalid" and _EXPIRED not in problems):
        why = ", ".join(wrong) or state
        return Provenance("changed", f"was changed after it was signed: {why}", *about)
    doubts = [words for code, words in _SIGNERS.items() if code in problems]
    by = f" (by a certificate {' and '.join(doubts)})" if doubts else ""
    return Provenance("signed", f"is signed and unchanged since{by}", *about)


def _actions(manifest: dict[str, Any]) -> Sequence[dict[str, Any]]:
    for one in manifest.get("assertions", ()):
        if one.get("label", "").startswith("c2pa.actions"):
            actions: Sequence[dict[str, Any]] = one["data"]["actions"]
            return actions
    return ()


def _source_type(actions: Sequence[dict[str, Any]]) -> str | None:
    found = [str(one["digitalSourceType"]) for one in actions if "digitalSourceType" in one]
    return found[0].removeprefix(URI) if found else None
