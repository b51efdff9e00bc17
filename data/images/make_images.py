"""Make the grey images that are shipped as densities: a galaxy and a texture.

    python data/images/make_images.py            write both PNG files beside this one
    python data/images/make_images.py --check    compare them with a fresh computation

Everything is computed from formulas and seeded noise: no photograph is used. A fresh
computation may differ by one grey level where a value falls on a rounding border (the
order of floating-point sums differs between processors), which --check allows.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SIZE = 200


def plane() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y of the pixel centres, (200, 200) each, row 0 at the top."""
    centre = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
    return np.meshgrid(centre, -centre, indexing="xy")


def noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Smooth Gaussian noise of variance one on the torus, (200, 200).

    White noise blurred by a Gaussian whose standard deviation is `scale`, in the
    units of the plane (the image is 2 wide).
    """
    wave = np.fft.fftfreq(SIZE, d=2 / SIZE)
    power = np.exp(-2 * (np.pi * scale) ** 2 * (wave[:, None] ** 2 + wave**2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * power).real
    return (field - field.mean()) / field.std()


def galaxy() -> np.ndarray:
    """Bulge, disc, two logarithmic arms with clumps, and stars; inclined."""
    rng = np.random.default_rng(2019)
    x, y = plane()
    turn, ratio, pitch = 0.5, 0.72, 0.28
    u = np.cos(turn) * x + np.sin(turn) * y
    v = (np.cos(turn) * y - np.sin(turn) * x) / ratio
    r, angle = np.hypot(u, v), np.arctan2(v, u)

    bulge = np.exp(-((r / 0.11) ** 1.2))
    phase = angle - np.log(np.maximum(r, 0.02) / 0.11) / pitch
    arms = np.exp(2.6 * (np.cos(2 * phase) - 1)) * (1 - np.exp(-((r / 0.13) ** 3)))
    clumps = np.exp(0.45 * noise(rng, 0.03) + 0.3 * noise(rng, 0.07))
    disc = 0.12 * np.exp(-((r / 0.34) ** 1.25))
    disc = disc + 0.4 * arms * clumps * np.exp(-((r / 0.38) ** 1.25))
    return to_bytes(0.003 + bulge + disc + 0.3 * stars(rng, x, y))


def stars(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sixty faint foreground stars, each a round blot about a pixel and a half wide."""
    place = rng.uniform(-0.97, 0.97, size=(60, 2))
    brightness = 0.08 * (1 - rng.uniform(size=60)) ** -0.7
    square = (x - place[:, 0, None, None]) ** 2 + (y - place[:, 1, None, None]) ** 2
    spots = np.exp(-square / (2 * 0.008**2))
    return (np.minimum(brightness, 0.6)[:, None, None] * spots).sum(axis=0)


def texture() -> np.ndarray:
    """A ragged blotch with bays, islands and holes, filled with veins."""
    rng = np.random.default_rng(2019)
    x, y = plane()
    u = x + 0.10 * noise(rng, 0.12)
    v = y + 0.10 * noise(rng, 0.12)
    lobes = 0.75 * noise(rng, 0.16) + 0.3 * noise(rng, 0.06)
    level = lobes + 0.75 - 2.1 * (u**2 + v**2)
    shape = 1 / (1 + np.exp(-level / 0.1))
    veins = 1 / (1 + np.exp(-(np.abs(noise(rng, 0.09)) - 0.25) / 0.12))
    grain = np.exp(0.12 * noise(rng, 0.02))
    return to_bytes(0.01 + shape * (0.2 + 0.5 * veins) * grain)


def to_bytes(light: np.ndarray) -> np.ndarray:
    """Grey levels 1 to 255: light 1 and above is white, no pixel is quite black."""
    return np.clip(np.rint(light * 255), 1, 255).astype(np.uint8)


IMAGES = {"galaxy": galaxy, "texture": texture}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    bad = 0
    for name, make in IMAGES.items():
        file = HERE / f"{name}.png"
        if check:
            with Image.open(file) as picture:
                stored = np.asarray(picture).astype(int)
            difference = int(np.abs(stored - make()).max())
            bad += difference > 1
            print(f"{file.name}: largest difference {difference} grey levels")
        else:
            temporary = file.with_suffix(".png.tmp")
            Image.fromarray(make()).save(temporary, format="PNG", optimize=True)
            os.replace(temporary, file)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            print(f"{digest}  {file.name}  {file.stat().st_size} bytes")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
