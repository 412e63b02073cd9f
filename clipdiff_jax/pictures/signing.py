"""Signed manifests (C2PA) in picture files: what made them, with the user's own certificate.

A manifest says which actions made a picture, and is signed together with every byte of the file, so
that whatever is changed afterwards shows. It needs the extra `[provenance]` (c2pa-python), which is
imported when it is asked for.
"""

import datetime
import importlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

import clipdiff_jax
from clipdiff_jax.pictures.labels import EDITED, GENERATED, URI, SourceType

logger = logging.getLogger(__name__)
MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # which would be larger than most pictures
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},  # nothing is fetched
}
_PURPOSES = ("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36")  # email protection, document signing
_SOURCE = "source-{}"  # what actions call a picture that was opened


class ProvenanceError(ValueError):
    """A certificate that cannot sign, or a file that cannot be; the message says what is wrong."""


@dataclass(frozen=True)
class Made:
    """What a manifest says of a picture.

    Attributes:
      title: the name of its file.
      source_type: whether a model drew or changed it.
      sources: the files that were changed, the first of them the picture itself.
      watermarked: whether there is a mark in it.
      prompt: only where it is to be published.
    """

    title: str
    source_type: SourceType = GENERATED
    sources: Sequence[Path] = ()
    watermarked: bool = False
    prompt: str | None = None


@dataclass(frozen=True)
class Signer:
    """A certificate chain, the leaf first, and the leaf's private key, both PEM."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    algorithm: str

    @classmethod
    def from_files(cls, certificate: str | Path, key: str | Path) -> "Signer":
        """The signer of two PEM files; it has signed a small picture when this returns.

        Raises `ProvenanceError` that names the field for a certificate that is over, not yet valid,
        for another purpose or another key, and where c2pa-python is missing.
        """
        c2pa_module()
        chain, secret = (Path(path).expanduser().read_bytes() for path in (certificate, key))
        signer = cls(chain, secret, _checked(chain, secret, certificate, key))
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        try:
            signer.sign(buffer.getvalue(), "PNG", Made("test.png"))
        except ProvenanceError as error:
            raise ProvenanceError(f"'{certificate}' signs nothing: {error}") from error
        return signer

    def sign(self, content: bytes, kind: str, made: Made) -> bytes:
        """A file with a manifest in it; kind: as Pillow calls its format.

        Raises `ProvenanceError` for a format that holds no manifest, and where it cannot be signed.
        """
        if kind not in MIME:
            raise ProvenanceError(f"{kind} files hold no manifest here, only {', '.join(MIME)} do")
        c2pa = c2pa_module()
        sources = [one for one in made.sources if _can_be_opened(c2pa, one)]
        out = io.BytesIO()
        try:
            info = c2pa.C2paSignerInfo(self.algorithm.encode(), self.chain, self.key, None)
            with c2pa.Signer.from_info(info) as signer:
                builder = c2pa.Builder(_manifest(made, kind, len(sources)), context=context(c2pa))
                for index, path in enumerate(sources):
                    one = {
                        "title": path.name,
                        "relationship": _relation(made, index),
                        "instance_id": _SOURCE.format(index),
                    }
                    with path.open("rb") as file:
                        builder.add_ingredient(json.dumps(one), _format(path), file)
                builder.sign(signer, MIME[kind], io.BytesIO(content), out)
        except (c2pa.C2paError, OSError) as error:
            raise ProvenanceError(" ".join(str(error).split())) from error
        return out.getvalue()


def c2pa_module() -> ModuleType:
    """c2pa-python. Raises `ProvenanceError` that says how to get it."""
    try:
        return importlib.import_module("c2pa")
    except (ImportError, OSError) as error:
        raise ProvenanceError(
            "signed manifests need c2pa-python: pip install 'clipdiff-jax[provenance]'"
        ) from error


def context(c2pa: ModuleType) -> Any:
    """What c2pa-python may do: nothing over the network, and no thumbnails."""
    return c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))


def _relation(made: Made, index: int) -> str:
    """What a source is to the picture: itself before, something placed in it, or looked at."""
    if made.source_type != EDITED:
        return "inputTo"
    return "componentOf" if index else "parentOf"


def _manifest(made: Made, kind: str, sources: int) -> dict[str, Any]:
    sources = sources if made.source_type == EDITED else 0
    drawn: dict[str, Any] = {
        "action": "c2pa.edited" if sources else "c2pa.created",
        "digitalSourceType": URI + made.source_type,
    }
    if made.prompt is not None:
        drawn["parameters"] = {"org.clipdiff-jax.prompt": made.prompt}
    actions = [drawn]
    if sources:
        names = [_SOURCE.format(0)]
        actions.insert(0, {"action": "c2pa.opened", "parameters": {"ingredientIds": names}})
    for index in range(1, sources):
        names = [_SOURCE.format(index)]
        actions.append({"action": "c2pa.placed", "parameters": {"ingredientIds": names}})
    if made.watermarked:
        # The mark says nothing of this manifest: in the standard's words it is unbound.
        actions.append({"action": "c2pa.watermarked.unbound"})
    return {
        "claim_generator_info": [{"name": "clipdiff_jax", "version": clipdiff_jax.__version__}],
        "title": made.title,
        "format": MIME[kind],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _can_be_opened(c2pa: ModuleType, path: Path) -> bool:
    if _format(path) in c2pa.Builder.get_supported_mime_types():
        return True
    logger.warning("'%s' is of a format that no manifest can name as a source", path.name)
    return False


def _format(path: Path) -> str:
    with Image.open(path) as picture:
        return Image.MIME.get(picture.format or "", "")


def _checked(chain: bytes, key: bytes, certificate: str | Path, key_file: str | Path) -> str:
    """The algorithm of a key and its certificate. Raises `ProvenanceError` that names the field."""
    x509 = importlib.import_module("cryptography.x509")
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise ProvenanceError(f"'{certificate}' holds no certificate in PEM: {error}") from error
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise ProvenanceError(f"'{key_file}' holds no private key in PEM that is open") from error
    now = datetime.datetime.now(datetime.UTC)
    if now > leaf.not_valid_after_utc:
        raise ProvenanceError(
            f"'{certificate}': notAfter is {leaf.not_valid_after_utc}, it is over"
        )
    if now < leaf.not_valid_before_utc:
        raise ProvenanceError(f"'{certificate}': notBefore is {leaf.not_valid_before_utc}, not yet")
    if private.public_key() != leaf.public_key():
        raise ProvenanceError(
            f"'{key_file}' is the key of another certificate than '{certificate}'"
        )
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        purposes = {one.dotted_string for one in usages}
    except x509.ExtensionNotFound:
        purposes = set()
    if not purposes & set(_PURPOSES):
        raise ProvenanceError(
            f"'{certificate}': extendedKeyUsage is {', '.join(sorted(purposes)) or 'missing'}, "
            "expected emailProtection or documentSigning"
        )
    kinds = {"RSAPrivateKey": "ps256", "Ed25519PrivateKey": "ed25519"}
    named = type(private).__name__.removeprefix("_")
    found = kinds.get(named) or {256: "es256", 384: "es384", 521: "es512"}.get(private.key_size)
    if found is None:
        raise ProvenanceError(f"'{key_file}' is a key of {named}, which C2PA does not sign with")
    return found
