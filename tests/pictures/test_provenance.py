"""What files say of themselves: labels always, manifests where asked, and words for what was done
to them since."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import clipdiff_jax as cd
from clipdiff_jax.pictures import provenance, signing
from clipdiff_jax.pictures.animation import animation
from clipdiff_jax.pictures.grid import is_grid
from clipdiff_jax.pictures.labels import EDITED, GENERATED, PNG_CHUNK, URI, Label, read_label
from clipdiff_jax.pictures.pages import save_square
from clipdiff_jax.pictures.provenance import verify
from clipdiff_jax.pictures.records import RecordError, read_records, save_picture
from clipdiff_jax.pictures.results import Results
from clipdiff_jax.pictures.saving import Saving
from clipdiff_jax.pictures.signing import Made, ProvenanceError, Signer

IMAGE = np.random.default_rng(0).uniform(-1, 1, (24, 20, 3)).astype(np.float32)
RECORD = {"command": "generate", "file": "a.png", "seed": 3, "prompt": "a secret wish"}
NAMES = ["a.png", "b.jpg", "c.webp"]


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    pytest.importorskip("c2pa")
    from helpers.certificates import write_chain

    return Signer.from_files(*write_chain(tmp_path_factory.mktemp("certificates")))


def signed_files(tmp_path, signer):
    return cd.save_images([IMAGE] * 3, tmp_path, NAMES, source_type=GENERATED, signer=signer)


def test_pictures_of_commands_are_labelled(tmp_path):
    save_picture(tmp_path / "a.png", IMAGE, RECORD)
    save_picture(tmp_path / "b.png", IMAGE, RECORD | {"command": "edit"})
    assert read_label(tmp_path / "a.png") == Label(GENERATED)
    assert read_label(tmp_path / "b.png") == Label(EDITED)
    found = verify(tmp_path / "a.png")
    assert (found.state, found.source_type) == ("labelled", GENERATED)
    assert "anyone may have" in found.words
    save_picture(tmp_path / "c.png", IMAGE, RECORD, Saving(label=False))
    assert read_label(tmp_path / "c.png") is None
    assert read_records(tmp_path / "c.png") == [RECORD]
    pixels = [np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "c.png")]
    np.testing.assert_array_equal(*pixels)


WORDS = "a <b> & \"c\" 'd' é 猫 \x07 DigitalSourceType='" + URI + "digitalCapture'"


@pytest.mark.parametrize("name", NAMES)
def test_every_format_keeps_the_record(tmp_path, name):
    """Whatever the words in it: they are no label, and come back as they were."""
    record = RECORD | {"file": name, "prompt": WORDS}
    save_picture(tmp_path / name, IMAGE, record)
    assert read_records(tmp_path / name) == [record]
    assert read_label(tmp_path / name) == Label(GENERATED)
    bare = tmp_path / f"bare-{name}"
    save_picture(bare, IMAGE, record, Saving(label=False))
    assert read_records(bare) == [record]
    assert read_label(bare) is None
    save_picture(bare, IMAGE, record, Saving(record=False))
    assert read_label(bare) == Label(GENERATED)
    with pytest.raises(RecordError, match="does not say how it was made"):
        read_records(bare)


@pytest.mark.parametrize("name", NAMES)
def test_signed_pictures_keep_the_record_in_every_format(tmp_path, name, signer):
    record = RECORD | {"file": name}
    save_picture(tmp_path / name, IMAGE, record, Saving(signer=signer))
    assert verify(tmp_path / name).state == "signed"
    assert read_records(tmp_path / name) == [record]


def test_a_record_too_long_for_a_jpeg_is_in_the_manifest_alone(tmp_path, caplog):
    long = RECORD | {"prompt": "very " * 20_000}
    for name in NAMES:
        Results(tmp_path).save(long | {"file": name}, IMAGE)
    assert [one["file"] for one in read_records(tmp_path)] == NAMES
    for name in ("a.png", "c.webp"):
        assert read_records(tmp_path / name) == [long | {"file": name}]
    with pytest.raises(RecordError, match="does not say"):
        read_records(tmp_path / "b.jpg")
    assert "'b.jpg' says not how it was made: that is too long for a JPEG" in caplog.text
    assert read_label(tmp_path / "b.jpg") == Label(GENERATED)


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_grids_are_of_the_format_of_the_pictures(tmp_path, format):
    cells = [lambda: np.uint8(IMAGE * 0)]
    save_square(Results(tmp_path, saving=Saving(format=format)), cells)
    save_square(Results(tmp_path, saving=Saving(format=format, label=False)), cells)
    first, second = tmp_path / f"grid.{format}", tmp_path / f"grid-2.{format}"
    assert is_grid(first)
    assert is_grid(second)
    assert (read_label(first), read_label(second)) == (Label(GENERATED), None)
    save_picture(tmp_path / f"a.{format}", IMAGE, RECORD)
    assert not is_grid(tmp_path / f"a.{format}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("source_type", [GENERATED, EDITED])
def test_every_format_has_the_label(tmp_path, name, source_type):
    (path,) = cd.save_images(IMAGE, tmp_path, [name], source_type=source_type)
    assert read_label(path) == Label(source_type)
    (plain,) = cd.save_images(IMAGE, tmp_path / "plain", [name])
    assert verify(plain).state == "silent"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(plain)))


def test_grids_and_animations_have_it(tmp_path):
    save_square(Results(tmp_path), [lambda: np.uint8(IMAGE * 0)])
    plain = Results(tmp_path, saving=Saving(label=False))
    save_square(plain, [lambda: np.uint8(IMAGE * 0)])
    assert read_label(tmp_path / "grid.png") == Label(GENERATED)
    assert read_label(tmp_path / "grid-2.png") is None
    frames = [np.uint8(IMAGE * 0), np.uint8(IMAGE * 0 + 9)]
    (tmp_path / "a.webp").write_bytes(animation(frames, "webp", label=Label(GENERATED)))
    assert read_label(tmp_path / "a.webp") == Label(GENERATED)


def test_the_label_is_xml_that_others_read(tmp_path):
    import xml.etree.ElementTree as tree

    (path,) = cd.save_images(IMAGE, tmp_path, source_type=GENERATED)
    packet = Image.open(path).info["XML:com.adobe.xmp"]
    root = tree.fromstring(packet[packet.index("<x:") : packet.rindex("<?")])
    (found,) = root.iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found.text.endswith("/digitalsourcetype/trainedAlgorithmicMedia")


def test_a_label_that_others_wrote_is_read(tmp_path):
    """As an attribute, which is the other way to write it."""
    packet = Label(GENERATED).packet()
    before, after = packet.split("<Iptc4xmpExt:DigitalSourceType>")
    uri, rest = after.split("</Iptc4xmpExt:DigitalSourceType>")
    written = before[:-1] + f' Iptc4xmpExt:DigitalSourceType="{uri}">' + rest
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", xmp=written.encode())
    assert read_label(tmp_path / "a.jpg") == Label(GENERATED)


def test_without_a_record_nothing_says_how(tmp_path):
    results = Results(tmp_path, saving=Saving(record=False))
    results.save(RECORD, IMAGE)
    results.finish([RECORD])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert b"wish" not in (tmp_path / "a.png").read_bytes()
    with pytest.raises(RecordError, match="does not say how"):
        read_records(tmp_path / "a.png")
    assert verify(tmp_path / "a.png").state == "labelled"


def test_signed_pictures_are_unchanged_and_verify(tmp_path, signer):
    for path in signed_files(tmp_path, signer):
        found = verify(path)
        assert found.state == "signed", found
        assert (found.source_type, found.actions) == (GENERATED, ("c2pa.created",))
        assert found.signer == "Test signer"
        assert "unchanged since" in found.words
        (plain,) = cd.save_images(IMAGE, tmp_path / "plain", [path.name])
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(plain)))


def test_a_certificate_that_is_over_by_now_changes_no_picture(tmp_path):
    """Only what is read of it: the same bytes were signed."""
    pytest.importorskip("c2pa")
    from helpers.certificates import write_chain

    signer = Signer.from_files(*write_chain(tmp_path / "certificates", days=(-1, 4 / 86400)))
    (path,) = cd.save_images([IMAGE], tmp_path, NAMES[:1], source_type=GENERATED, signer=signer)
    time.sleep(5)
    found = verify(path)
    assert (found.state, found.source_type) == ("signed", GENERATED)
    assert "is signed and unchanged since (by a certificate" in found.words
    assert "that is over by now" in found.words
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 1
    path.write_bytes(content)
    assert verify(path).state == "changed"


def test_one_changed_byte_shows(tmp_path, signer):
    for path in signed_files(tmp_path, signer):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        content[-30] ^= 1
        path.write_bytes(content)
        try:
            found = verify(path)
        except (ValueError, OSError):
            continue  # no picture any more
        assert found.state == "changed", (path.name, found)


def test_a_changed_pixel_shows(tmp_path, signer):
    """A file of our own around the other's manifest: one bit of the picture's data is another."""
    path = signed_files(tmp_path, signer)[1]
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    found = verify(path)
    assert found.state == "changed"
    assert "dataHash.mismatch" in found.words


def test_stripped_and_encoded_again_are_told_apart(tmp_path, signer):
    png, jpeg, webp = signed_files(tmp_path, signer)
    stripped = _without_chunk(png.read_bytes(), b"caBX")
    png.write_bytes(stripped)
    found = verify(png)
    assert (found.state, found.source_type) == ("stripped", GENERATED)
    assert "manifest was removed" in found.words
    for path in (jpeg, webp):
        with Image.open(path) as picture:
            xmp, again = picture.info["xmp"], io.BytesIO()
            picture.save(again, picture.format, quality=60, xmp=xmp)
        path.write_bytes(again.getvalue())
        found = verify(path)
        assert found.state == "encoded"
        assert "encoded again" in found.words
    with Image.open(png) as picture:
        picture.convert("RGB").save(tmp_path / "bare.png")
    assert verify(tmp_path / "bare.png").state == "silent"


def test_pixels_that_cannot_be_read_are_an_error_of_that_file(tmp_path):
    """A chunk in the middle of them is damaged, so that the digest they had cannot be compared."""
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    label = PngInfo()
    label.add_itxt(PNG_CHUNK, Label(GENERATED, "0" * 64).packet())
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, pnginfo=label)
    assert verify(path).state == "encoded"
    content = path.read_bytes()
    at = content.index(b"IDAT", content.index(b"IDAT") + 4)
    path.write_bytes(content[:at] + b"\0\1\2\3" + content[at + 4 :])
    with pytest.raises(ValueError, match=r"a\.png' is no picture that can be read: broken PNG"):
        verify(path)


def _without_chunk(content: bytes, name: bytes) -> bytes:
    at = content.index(name) - 4
    size = int.from_bytes(content[at : at + 4])
    return content[:at] + content[at + 12 + size :]


def test_what_a_manifest_says(tmp_path, signer):
    source = tmp_path / "holiday.jpg"
    Image.new("RGB", (8, 8), "red").save(source)
    saving = Saving(signer=signer)
    edited = RECORD | {"command": "edit"}
    save_picture(tmp_path / "a.png", IMAGE, edited, saving, [source])
    found = verify(tmp_path / "a.png")
    assert found.state == "signed"
    assert (found.actions, found.source_type) == (("c2pa.opened", "c2pa.edited"), EDITED)
    said = _manifest(tmp_path / "a.png")
    (ingredient,) = said["ingredients"]
    assert (ingredient["title"], ingredient["relationship"]) == ("holiday.jpg", "parentOf")
    save_picture(tmp_path / "b.png", IMAGE, RECORD | {"watermark": "ab"}, saving)
    assert verify(tmp_path / "b.png").actions == ("c2pa.created", "c2pa.watermarked.unbound")
    save_picture(tmp_path / "c.png", IMAGE, RECORD | {"command": "vary"}, saving, [source])
    assert verify(tmp_path / "c.png").actions == ("c2pa.created",)
    assert _manifest(tmp_path / "c.png")["ingredients"][0]["relationship"] == "inputTo"
    for name in ("a.png", "b.png", "c.png"):
        assert "wish" not in json.dumps(_manifest(tmp_path / name))
        assert str(tmp_path) not in (tmp_path / name).read_bytes().decode("latin1")
    published = Saving(record=False, publish_prompt=True, signer=signer)
    save_picture(tmp_path / "d.png", IMAGE, RECORD, published)
    assert "a secret wish" in json.dumps(_manifest(tmp_path / "d.png"))


def _manifest(path):
    import c2pa

    said = json.loads(c2pa.Reader(path).json())
    return said["manifests"][said["active_manifest"]]


def test_certificates_that_cannot_sign(tmp_path):
    pytest.importorskip("c2pa")
    from helpers.certificates import write_chain

    chain, key = write_chain(tmp_path / "good")
    for name, options, says in (
        ("over", {"days": (-9, -1)}, r"over.chain\.pem': notAfter is .* it is over"),
        ("early", {"days": (1, 9)}, "notBefore is"),
        ("purpose", {"purpose": False}, "extendedKeyUsage is missing"),
    ):
        with pytest.raises(ProvenanceError, match=says):
            Signer.from_files(*write_chain(tmp_path / name, **options))
    with pytest.raises(ProvenanceError, match="is the key of another certificate"):
        Signer.from_files(chain, write_chain(tmp_path / "other")[1])
    with pytest.raises(ProvenanceError, match="holds no certificate"):
        Signer.from_files(key, key)
    with pytest.raises(ProvenanceError, match="holds no private key"):
        Signer.from_files(chain, chain)
    with pytest.raises(FileNotFoundError):
        Signer.from_files(chain, tmp_path / "none.pem")
    assert "BEGIN" not in repr(Signer.from_files(chain, key))


def test_formats_that_hold_no_manifest(signer):
    with pytest.raises(ProvenanceError, match="BMP files hold no manifest"):
        signer.sign(b"", "BMP", Made("a.bmp"))


def test_a_picture_that_cannot_be_signed_is_saved(tmp_path, signer, caplog):
    """Hours of work are not lost because a certificate ended meanwhile."""
    broken = Signer(signer.chain, signer.key, "ps256")
    save_picture(tmp_path / "a.png", IMAGE, RECORD, Saving(signer=broken))
    assert "'a.png' is saved without a manifest" in caplog.text
    assert verify(tmp_path / "a.png").state == "labelled"
    assert read_records(tmp_path / "a.png") == [RECORD]


def test_without_c2pa(tmp_path, signer, monkeypatch):
    path = signed_files(tmp_path, signer)[0]

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(signing.importlib, "import_module", missing)
    with pytest.raises(ProvenanceError, match=r"pip install 'clipdiff-jax\[provenance\]'"):
        Signer.from_files(path, path)
    found = provenance.verify(path)
    assert (found.state, found.source_type) == ("unread", GENERATED)


def test_what_save_images_is_not_given(tmp_path, signer):
    with pytest.raises(ValueError, match=r"Did you mean 'trainedAlgorithmicMedia'\?"):
        cd.save_images(IMAGE, tmp_path, source_type="trainedMedia")
    with pytest.raises(ValueError, match="give `source_type` too"):
        cd.save_images(IMAGE, tmp_path, signer=signer)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises((ValueError, OSError)):
        verify(tmp_path / "a.png")
