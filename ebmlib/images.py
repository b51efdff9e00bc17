"""Real images: small digits that are always there, MNIST, and CIFAR-10 by class.

The 8 x 8 digits come with scikit-learn. The other two are read from files on the disk,
or fetched once and cached. For each, the first that has the files is used:

1. the folder that the environment variable ``EBM_MNIST`` (``EBM_CIFAR10``) names: the
   published files, packed or unpacked, under their published names;
2. the cache: the folder that ``EBM_CACHE`` names, else pooch's own for ``ebmlib``;
3. the mirrors below, from which the published files are copied into the cache.

The SHA-256 of what the files hold is compared with the published one at each reading.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ebmlib._checks import check_between, check_choice, check_generator, check_tensor
from ebmlib._progress import wants_bar

NAMES = ("digits", "mnist", "cifar10")
SPLITS = ("train", "test")
CATEGORIES = (  # of CIFAR-10, labels 0 to 9
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
CIFAR_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
)


class _File(NamedTuple):
    """A published file: its name, and the SHA-256 of what it holds, unpacked."""

    name: str
    content: str


class _Source(NamedTuple):
    """Where a data set comes from."""

    variable: str
    mirrors: tuple[str, ...]
    packed: dict[str, str]  # SHA-256 of each file that a mirror has
    files: dict[str, list[_File]]  # what each split is read from


MNIST = _Source(
    "EBM_MNIST",
    MNIST_MIRRORS,
    {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
    {
        "train": [
            _File(
                "train-images-idx3-ubyte",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _File(
                "train-labels-idx1-ubyte",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
        ],
        "test": [
            _File(
                "t10k-images-idx3-ubyte",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _File(
                "t10k-labels-idx1-ubyte",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ],
    },
)
CIFAR10 = _Source(
    "EBM_CIFAR10",
    CIFAR_MIRRORS,
    {
        "cifar-10-binary.tar.gz": (
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        )
    },
    {
        "train": [
            _File(
                "data_batch_1.bin",
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            ),
            _File(
                "data_batch_2.bin",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            ),
            _File(
                "data_batch_3.bin",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            ),
            _File(
                "data_batch_4.bin",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            ),
            _File(
                "data_batch_5.bin",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            ),
        ],
        "test": [
            _File(
                "test_batch.bin",
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            )
        ],
    },
)


class Images(NamedTuple):
    """Images and what they show.

    Attributes
    ----------
    pixels : Tensor, shape (n, c, h, w), float32
        From 0 (black) to 1.
    labels : Tensor, shape (n,), int64
        The digit, or the number of the category.
    """

    pixels: Tensor
    labels: Tensor

    def rows(self, threshold: float | None = 0.5) -> Tensor:
        """One image a row, (n, c * h * w); zeros and ones unless threshold is None."""
        flat = self.pixels.flatten(1)
        return flat if threshold is None else binarise(flat, threshold)


def load(
    name: str,
    split: str = "train",
    *,
    category: int | str | None = None,
    progress: bool | None = None,
) -> Images:
    """Read a set of images.

    Parameters
    ----------
    name : {"digits", "mnist", "cifar10"}
        ``"digits"``: 8 x 8 grey digits, 1,400 for training and 397 for tests, always
        there (Alpaydin and Kaynak 1998).  ``"mnist"``: 28 x 28 grey digits, 60,000 and
        10,000 (LeCun et al. 1998).  ``"cifar10"``: 32 x 32 colour photographs, 50,000
        and 10,000 (Krizhevsky 2009).
    split : {"train", "test"}
    category : int or str, optional
        Keep the images with this label only; for CIFAR-10 also by name, such as "cat".
    progress : bool, optional
        Show a bar while files are fetched; unless given, in a live notebook only.

    Returns
    -------
    Images

    Raises
    ------
    ValueError
        For an unknown name, split or category, or a file that is cut short, corrupt or
        not the published one.  Such a file is removed from the cache; one in your own
        folder is left alone.
    FileNotFoundError
        If the environment variable names a folder that lacks a file.
    ConnectionError
        If no mirror has a file, or can be reached.
    """
    check_choice("name", name, NAMES)
    check_choice("split", split, SPLITS)
    if name == "digits":
        images = _digits(split)
    elif name == "mnist":
        images = _mnist(split, wants_bar(progress))
    else:
        images = _cifar10(split, wants_bar(progress))
    if category is None:
        return images
    keep = images.labels == _category(category, name)
    return Images(images.pixels[keep], images.labels[keep])


def binarise(pixels: Tensor, threshold: float = 0.5) -> Tensor:
    """Ones where a pixel is at least ``threshold``, zeros elsewhere.

    Parameters
    ----------
    pixels : Tensor, any shape
        Between 0 and 1.
    threshold : float

    Returns
    -------
    Tensor
        Of the same shape and dtype.
    """
    _check_pixels(pixels)
    check_between("threshold", threshold, 0.0, 1.0)
    return (pixels >= threshold).to(pixels)


def sample_binary(
    pixels: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """Zeros and ones, one with the pixel's value as probability.

    Parameters
    ----------
    pixels : Tensor, any shape
        Between 0 and 1.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor
        Of the same shape and dtype.
    """
    _check_pixels(pixels)
    check_generator(generator)
    return torch.empty_like(pixels).uniform_(generator=generator).lt(pixels).to(pixels)


def _check_pixels(pixels: Tensor) -> None:
    check_tensor("pixels", pixels)
    inside = (pixels >= 0) & (pixels <= 1)  # false for NaN too
    if not bool(inside.all()):
        raise ValueError(
            f"pixels must lie between 0 and 1, got {int((~inside).sum())} of "
            f"{pixels.numel()} that do not"
        )


def _category(category: int | str, name: str) -> int:
    """The label of a category."""
    if name == "cifar10" and isinstance(category, str):
        check_choice("category", category, CATEGORIES)
        return CATEGORIES.index(category)
    if isinstance(category, bool) or category not in range(10):
        names = ", or a name such as 'cat'" if name == "cifar10" else ""
        raise ValueError(f"category must be 0 to 9{names}, got {category!r}")
    return int(category)


def _digits(split: str) -> Images:
    """scikit-learn's digits, cut in two by a fixed permutation."""
    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.target))
    part = order[:1400] if split == "train" else order[1400:]
    pixels = torch.from_numpy(data.images[part]).float().div(16)[:, None]
    return Images(pixels, torch.from_numpy(data.target[part]).long())


def _mnist(split: str, bar: bool) -> Images:
    images, labels = (
        _idx(_content(MNIST, file, bar), file.name) for file in MNIST.files[split]
    )
    pixels = torch.from_numpy(images).float().div(255)[:, None]
    return Images(pixels, torch.from_numpy(labels).long())


def _cifar10(split: str, bar: bool) -> Images:
    parts = []
    for file in CIFAR10.files[split]:
        content = np.frombuffer(_content(CIFAR10, file, bar), np.uint8)
        parts.append(content.reshape(-1, 1 + 3 * 32 * 32))
    rows = np.concatenate(parts)
    pixels = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy())
    return Images(pixels.float().div(255), torch.from_numpy(rows[:, 0].copy()).long())


def _idx(content: bytes, name: str) -> np.ndarray:
    """The array in an IDX file of bytes."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not content[3]:
        raise ValueError(f"{name} is no IDX file of unsigned bytes")
    n_dim = content[3]
    shape = tuple(np.frombuffer(content, ">i4", n_dim, 4))
    start = 4 + 4 * n_dim
    if len(content) != start + int(np.prod(shape)):
        raise ValueError(f"{name} is cut short: its header announces shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _content(source: _Source, file: _File, bar: bool) -> bytes:
    """What a file holds, from the folder that was named, the cache or a mirror."""
    folder = os.environ.get(source.variable)
    if folder:
        return _read(_look(Path(folder), source, file), file)
    cache = Path(os.environ.get("EBM_CACHE") or pooch.os_cache("ebmlib"))
    name = file.name + ".gz" if file.name + ".gz" in source.packed else None
    name = name or next(iter(source.packed))
    path = _fetch(source, name, cache, bar)
    try:
        return _read(path, file)
    except ValueError:
        path.unlink(missing_ok=True)
        raise


def _look(folder: Path, source: _Source, file: _File) -> Path:
    """The file in a folder of the reader's, unpacked, packed or in its archive."""
    names = [file.name, f"cifar-10-batches-bin/{file.name}", file.name + ".gz"]
    for name in [*names, "cifar-10-binary.tar.gz"]:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{source.variable} names the folder {folder}, which has neither {file.name} "
        f"nor {' nor '.join(source.packed)}; unset it to fetch the files"
    )


def _read(path: Path, file: _File) -> bytes:
    """What the file holds, unpacked and compared with what was published."""
    try:
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                member = archive.extractfile(f"cifar-10-batches-bin/{file.name}")
                content = member.read()
        elif path.suffix == ".gz":
            content = gzip.decompress(path.read_bytes())
        else:
            content = path.read_bytes()
    except (EOFError, OSError, zlib.error, tarfile.TarError, KeyError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != file.content:
        raise ValueError(
            f"{path} is not the published file: what it holds has the SHA-256 "
            f"{actual}, expected {file.content}"
        )
    return content


def _fetch(source: _Source, name: str, cache: Path, bar: bool) -> Path:
    """A published file in the cache, fetched if it is not there or not whole."""
    failures = []
    for mirror in source.mirrors:
        try:
            found = retrieve(
                mirror + name,
                known_hash="sha256:" + source.packed[name],
                fname=name,
                path=cache,
                progressbar=bar,
            )
            return Path(found)
        except (ValueError, OSError) as error:  # another file, or no answer
            failures.append(f"{mirror}: {error}")
    raise ConnectionError(
        f"{name} could not be fetched; put it in a folder and name that in "
        f"{source.variable}. Tried " + "; ".join(failures)
    )


retrieve: Callable[..., str] = pooch.retrieve
