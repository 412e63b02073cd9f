"""The label that a picture was made by a model: IPTC's digital source type, as XMP in the file.

    trainedAlgorithmicMedia                     drawn by a model
    compositeWithTrainedAlgorithmicMedia        a picture that a model changed

Platforms read it to mark pictures, and the EU's AI act asks for such a mark. It is a claim in plain
text: anyone may write, change or remove it. PNG, JPEG and WebP have a place for it.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from xml.sax.saxutils import escape, unescape

from PIL import Image

from clipdiff_jax.core.checks import one_of
from clipdiff_jax.data.image_files import UNREADABLE

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
GENERATED: SourceType = "trainedAlgorithmicMedia"
EDITED: SourceType = "compositeWithTrainedAlgorithmicMedia"
URI = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PNG_CHUNK = "XML:com.adobe.xmp"
_QUOTES = {'"': "&quot;", "'": "&apos;"}  # so that no text reads as an attribute
_OURS = "urn:clipdiff_jax/1.0/"
_TYPE = re.compile(r"DigitalSourceType\s*(?:>\s*|=\s*[\"'])" + re.escape(URI) + r"(\w+)")
_SIGNED = re.compile(r"SignedPixels>([0-9a-f]{64})<")


@dataclass(frozen=True)
class Label:
    """What a picture says of itself.

    source_type: IPTC's term. signed_pixels: the sha256 of its pixels, where it was signed too; so a
    file whose manifest was removed is told from one that was encoded again.
    """

    source_type: str
    signed_pixels: str | None = None

    def packet(self) -> str:
        """The XMP of it."""
        return packet(self)


def packet(label: Label | None, texts: Mapping[str, str] | None = None) -> str:
    """XMP with a label, and with texts of ours by name, for formats without a place for those."""
    said = ""
    if label is not None:
        said = (
            f"<Iptc4xmpExt:DigitalSourceType>{URI}{label.source_type}"
            "</Iptc4xmpExt:DigitalSourceType>"
        )
        if label.signed_pixels is not None:
            said += f"<clipdiff:SignedPixels>{label.signed_pixels}</clipdiff:SignedPixels>"
    for name, text in (texts or {}).items():
        said += f"<clipdiff:{name}>{escape(text, _QUOTES)}</clipdiff:{name}>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmlns:clipdiff="{_OURS}">{said}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    )


def check_source_type(name: str) -> SourceType:
    """One of IPTC's terms that are written here. Raises `ValueError` that names the nearest."""
    found: SourceType = one_of("source_type", name, get_args(SourceType))
    return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what Pillow says of a picture into an `OSError` as it is, or a `ValueError` that names
    the file."""
    try:
        yield
    except OSError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"'{path}' is no picture that can be read: {error}") from error


def read_label(path: Path) -> Label | None:
    """The label of a picture, whoever wrote it; None where there is none.

    Raises `OSError` or `ValueError` for a file that is no picture.
    """
    with reading(path), Image.open(path) as picture:
        text = _xmp(picture)
    source = _TYPE.search(text)
    signed = _SIGNED.search(text)
    if source is None:
        return None
    return Label(source[1], None if signed is None else signed[1])


def read_text_of(path: Path, name: str) -> str | None:
    """A text of ours in a picture: of a PNG in a chunk of its own, else in its XMP.

    Raises `OSError` or `ValueError` for a file that is no picture.
    """
    with reading(path), Image.open(path) as picture:
        text = picture.info.get(name) if picture.format == "PNG" else None
        found = re.search(f"<clipdiff:{name}>(.*?)</clipdiff:{name}>", _xmp(picture), re.DOTALL)
    if text is None and found is not None:
        text = unescape(found[1], {entity: quote for quote, entity in _QUOTES.items()})
    return text if isinstance(text, str) else None


def _xmp(picture: Image.Image) -> str:
    found = picture.info.get("xmp") or picture.info.get(PNG_CHUNK) or ""
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def pixels_digest(picture: Image.Image) -> str:
    """The sha256 of a picture's size and pixels."""
    pixels = picture.convert("RGB")
    size = f"{pixels.width}x{pixels.height}\0".encode()
    return hashlib.sha256(size + pixels.tobytes()).hexdigest()
