"""Images: what is read is what was published, and nothing broken is kept."""

import gzip
import hashlib
import io
import os
import tarfile

import numpy as np
import pytest
import torch

from ebmlib import images


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def idx(array):
    """An array of bytes in the IDX format."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return head + array.astype(np.uint8).tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


PICTURES = np.arange(5 * 4 * 3).reshape(5, 4, 3) * 4
NUMBERS = np.array([3, 1, 3, 0, 9])
CONTENT = {
    "train-images-idx3-ubyte": idx(PICTURES),
    "train-labels-idx1-ubyte": idx(NUMBERS),
}
PACKED = {name + ".gz": gzip.compress(c, mtime=0) for name, c in CONTENT.items()}
COLOURS = np.random.default_rng(0).integers(0, 256, (4, 1 + 3 * 32 * 32), np.uint8)
COLOURS[:, 0] = [3, 5, 3, 0]


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """MNIST with five images of 4 x 3, not yet anywhere; its cache."""
    files = [images._File(name, sha256(c)) for name, c in CONTENT.items()]
    packed = {name: sha256(c) for name, c in PACKED.items()}
    source = images.MNIST._replace(packed=packed, files={"train": files})
    monkeypatch.setattr(images, "MNIST", source)
    monkeypatch.setenv("EBM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EBM_MNIST", raising=False)
    return tmp_path / "cache"


def mirror(monkeypatch, serve):
    """Stand in for the network: ``serve(url)`` returns bytes or raises."""
    asked = []

    def download(url, output, pooch):
        asked.append(url)
        with open(output, "wb") as file:
            file.write(serve(url))

    def retrieve(url, **options):
        return images.pooch.retrieve(url, **options, downloader=download)

    monkeypatch.setattr(images, "retrieve", retrieve)
    return asked


def served(url):
    return PACKED[url.rpartition("/")[2]]


def test_the_digits_are_there_without_any_file():
    train, test = (images.load("digits", split) for split in images.SPLITS)
    assert train.pixels.shape == (1400, 1, 8, 8)
    assert test.pixels.shape == (397, 1, 8, 8)
    assert train.pixels.dtype == torch.float32
    assert float(train.pixels.max()) == 1
    assert float(train.pixels.min()) == 0
    # every image is in one of the two halves, and in the same one each time
    both = torch.cat([train.pixels, test.pixels]).sum((1, 2, 3)).sort().values
    whole = torch.from_numpy(images.load_digits().data).float().div(16).sum(1)
    assert torch.equal(both, whole.sort().values)
    assert torch.equal(train.labels, images.load("digits").labels)


def test_a_category_is_those_images_with_that_label():
    three = images.load("digits", category=3)
    every = images.load("digits")
    assert torch.equal(three.pixels, every.pixels[every.labels == 3])


def test_files_of_the_reader_are_found_packed_and_unpacked(
    small_mnist, monkeypatch, tmp_path
):
    for folder, contents in (("packed", PACKED), ("unpacked", CONTENT)):
        (tmp_path / folder).mkdir()
        for name, content in contents.items():
            (tmp_path / folder / name).write_bytes(content)
        monkeypatch.setenv("EBM_MNIST", str(tmp_path / folder))
        found = images.load("mnist")
        assert torch.equal(found.pixels[:, 0] * 255, torch.from_numpy(PICTURES).float())
        assert found.labels.tolist() == NUMBERS.tolist()
    assert not small_mnist.exists()


def test_another_packing_of_the_same_content_is_accepted(
    small_mnist, monkeypatch, tmp_path
):
    for name, content in CONTENT.items():
        again = gzip.compress(content, compresslevel=1, mtime=77)
        assert again != PACKED[name + ".gz"]
        (tmp_path / (name + ".gz")).write_bytes(again)
    monkeypatch.setenv("EBM_MNIST", str(tmp_path))
    assert len(images.load("mnist").labels) == 5


@pytest.mark.parametrize("harm", ["cut", "garbage", "other"])
def test_a_bad_file_of_the_reader_is_named_and_left_alone(
    small_mnist, monkeypatch, tmp_path, harm
):
    name = "train-images-idx3-ubyte.gz"
    bad = {
        "cut": PACKED[name][:-9],
        "garbage": b"<html>not found</html>",
        "other": gzip.compress(idx(PICTURES[:4])),
    }[harm]
    (tmp_path / name).write_bytes(bad)
    monkeypatch.setenv("EBM_MNIST", str(tmp_path))
    reason = "not the published file" if harm == "other" else "cannot be unpacked"
    with pytest.raises(ValueError, match=f"{name}.*{reason}"):
        images.load("mnist")
    assert (tmp_path / name).read_bytes() == bad


def test_a_folder_that_lacks_a_file_says_what_it_needs(
    small_mnist, monkeypatch, tmp_path
):
    monkeypatch.setenv("EBM_MNIST", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"EBM_MNIST names .*train-images"):
        images.load("mnist")


def test_files_are_fetched_once(small_mnist, monkeypatch):
    asked = mirror(monkeypatch, served)
    assert len(images.load("mnist").labels) == 5
    assert len(asked) == 2
    assert all(url.startswith(images.MNIST_MIRRORS[0]) for url in asked)
    images.load("mnist")
    assert len(asked) == 2
    assert sorted(p.name for p in small_mnist.iterdir()) == sorted(PACKED)


def test_the_next_mirror_is_tried_and_a_wrong_file_is_not_kept(
    small_mnist, monkeypatch
):
    def serve(url):
        if url.startswith(images.MNIST_MIRRORS[0]):
            return b"a page that says sorry"
        return served(url)

    asked = mirror(monkeypatch, serve)
    assert len(images.load("mnist").labels) == 5
    assert len(asked) == 4
    assert sorted(p.name for p in small_mnist.iterdir()) == sorted(PACKED)


def test_without_any_mirror_nothing_is_left_behind(small_mnist, monkeypatch):
    mirror(monkeypatch, lambda url: b"wrong")
    with pytest.raises(ConnectionError, match=r"EBM_MNIST.*cvdf.*ossci"):
        images.load("mnist")
    assert list(small_mnist.iterdir()) == []


def test_a_broken_file_in_the_cache_is_replaced(small_mnist, monkeypatch):
    small_mnist.mkdir()
    name = "train-images-idx3-ubyte.gz"
    (small_mnist / name).write_bytes(PACKED[name][:50])
    asked = mirror(monkeypatch, served)
    assert len(images.load("mnist").labels) == 5
    assert len(asked) == 2
    assert (small_mnist / name).read_bytes() == PACKED[name]


def test_a_cached_file_that_cannot_be_read_is_removed(small_mnist, monkeypatch):
    name = "train-images-idx3-ubyte.gz"
    wrong = gzip.compress(idx(PICTURES[:2]))
    packed = images.MNIST.packed | {name: sha256(wrong)}
    monkeypatch.setattr(images, "MNIST", images.MNIST._replace(packed=packed))
    mirror(monkeypatch, lambda url: wrong)
    with pytest.raises(ValueError, match="not the published file"):
        images.load("mnist")
    assert list(small_mnist.iterdir()) == []


@pytest.mark.parametrize("packed", [True, False])
def test_cifar_by_class_from_its_archive_or_the_files_in_it(
    monkeypatch, tmp_path, packed
):
    content, name = COLOURS.tobytes(), "data_batch_1.bin"
    files = {"train": [images._File(name, sha256(content))]}
    monkeypatch.setattr(images, "CIFAR10", images.CIFAR10._replace(files=files))
    monkeypatch.setenv("EBM_CIFAR10", str(tmp_path))
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
            member = tarfile.TarInfo("cifar-10-batches-bin/" + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    else:
        (tmp_path / name).write_bytes(content)
    cats = images.load("cifar10", category="cat")
    assert cats.pixels.shape == (2, 3, 32, 32)
    assert cats.labels.tolist() == [3, 3]
    red = COLOURS[2, 1 : 1 + 32 * 32].reshape(32, 32)
    assert np.array_equal((cats.pixels[1, 0] * 255).round().byte().numpy(), red)
    assert len(images.load("cifar10", category=0).labels) == 1


@pytest.mark.parametrize(
    "content, wrong",
    [
        (b"", "no IDX"),
        (b"PK\3\4 a zip file", "no IDX"),
        (idx(PICTURES)[:-1], "cut short"),
        (idx(PICTURES) + b"\0", "cut short"),
    ],
)
def test_what_is_no_idx_file_is_refused(content, wrong):
    with pytest.raises(ValueError, match=wrong):
        images._idx(content, "some file")


def test_thresholding_and_drawing():
    grey = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]])
    assert images.binarise(grey).tolist() == [[0, 0, 1, 1, 1]]
    assert images.binarise(grey, 0.8).tolist() == [[0, 0, 0, 0, 1]]
    n = 4000
    drawn = images.sample_binary(grey.expand(n, 5), generator=seeded())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    error = (drawn.mean(0) - grey[0]).abs()
    assert bool((error <= 4 * (grey[0] * (1 - grey[0]) / n).sqrt()).all())
    again = images.sample_binary(grey.expand(n, 5), generator=seeded())
    assert torch.equal(drawn, again)


def test_rows_are_what_a_boltzmann_machine_takes():
    some = images.load("digits", "test")
    assert some.rows().shape == (397, 64)
    assert set(some.rows().unique().tolist()) == {0.0, 1.0}
    assert torch.equal(some.rows(None), some.pixels.flatten(1))


@pytest.mark.parametrize(
    "call, wrong",
    [
        (lambda: images.load("MNIST"), "Did you mean 'mnist'"),
        (lambda: images.load("digits", "validation"), "unknown split"),
        (lambda: images.load("digits", category=10), "category must be 0 to 9, got 10"),
        (lambda: images.load("digits", category="cat"), "category must be 0 to 9"),
        (lambda: images.binarise(torch.tensor([1.5])), "between 0 and 1"),
        (lambda: images.sample_binary(torch.tensor([-0.5])), "between 0 and 1"),
    ],
)
def test_mistakes_are_named(call, wrong):
    with pytest.raises(ValueError, match=wrong):
        call()


def test_a_misspelt_category_gets_a_suggestion(monkeypatch):
    empty = images.Images(torch.zeros(0, 3, 32, 32), torch.zeros(0))
    monkeypatch.setattr(images, "_cifar10", lambda split, bar: empty)
    with pytest.raises(ValueError, match="Did you mean 'cat'"):
        images.load("cifar10", category="cats")


@pytest.mark.skipif(not os.environ.get("EBM_MNIST"), reason="EBM_MNIST is not set")
def test_mnist_itself():
    train, test = (images.load("mnist", split) for split in images.SPLITS)
    assert train.pixels.shape == (60_000, 1, 28, 28)
    assert test.pixels.shape == (10_000, 1, 28, 28)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels.bincount().tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
