"""DCGAN: each of its rules is a check; transposed convolutions are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import ebmlib
from ebmlib.energy import mlp
from ebmlib.gan import (
    Generator,
    dcgan_critic,
    dcgan_generator,
    load_dcgan,
    save_dcgan,
    train_gan,
)

SIZES = [8, 16, 32, 64]
FOLDER = ebmlib.data_path("README.md").parent / "gan"
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(size: int = 32, width: int = 4) -> tuple[nn.Sequential, nn.Sequential]:
    generator = seeded()
    base = dcgan_generator(10, 3, width, size, generator=generator)
    return base, dcgan_critic(3, width, size, generator=generator)


def small(**options: int) -> Generator:
    network = dcgan_generator(6, **{"width": 4, "size": 8} | options)
    return Generator(network, "gaussian", latent_dim=6)


def sides(network: nn.Sequential, x: Tensor) -> list[int]:
    """Side of the picture after each convolution."""
    found = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, CONVOLUTIONS):
            found.append(x.shape[-1])
    return found


# The rules of Radford et al. (2016), section 3, in their order.


@pytest.mark.parametrize("size", SIZES)
def test_strided_convolutions_replace_pooling(size: int) -> None:
    base, critic = networks(size)
    up = sides(base, torch.zeros(2, 10))
    assert up == [2**k for k in range(2, size.bit_length())]  # 4, 8, ..., size
    assert sides(critic, torch.zeros(2, 3, size, size)) == [*up[-2::-1], 1]
    for network in (base, critic):
        assert not [m for m in network.modules() if "Pool" in type(m).__name__]
        assert not [m for m in network.modules() if "Upsample" in type(m).__name__]


@pytest.mark.parametrize("size", SIZES)
def test_both_normalise_batches_but_not_where_images_go_in_or_out(size: int) -> None:
    for network in networks(size):
        layers = list(network)
        after = [
            isinstance(layers[k + 1], nn.BatchNorm2d)
            for k, layer in enumerate(layers)
            if isinstance(layer, CONVOLUTIONS)
        ]
        ends = [isinstance(layers[0], nn.Conv2d), True]  # the critic's first; the last
        plain = [ends[0], *[False] * (len(after) - 2), ends[1]]
        assert after == [not p for p in plain]


def test_there_is_no_fully_connected_layer() -> None:
    for network in networks():
        assert not [m for m in network.modules() if isinstance(m, nn.Linear)]


def test_the_generator_has_relu_inside_and_tanh_at_the_end() -> None:
    *inside, last = [m for m in networks()[0] if "torch.nn.modules.act" in str(type(m))]
    assert isinstance(last, nn.Tanh)
    assert inside and all(isinstance(m, nn.ReLU) for m in inside)


def test_the_critic_has_leaky_relu_in_all_layers() -> None:
    _, critic = networks()
    found = [m for m in critic if "torch.nn.modules.act" in str(type(m))]
    # one after every convolution but the output, which is a logit
    assert len(found) == sum(isinstance(m, nn.Conv2d) for m in critic) - 1
    assert all(isinstance(m, nn.LeakyReLU) for m in found)
    assert {m.negative_slope for m in found} == {0.2}


def test_weights_start_normal_with_standard_deviation_one_fiftieth() -> None:
    for network in networks(width=16):
        weights = [m.weight for m in network if isinstance(m, CONVOLUTIONS)]
        flat = torch.cat([w.detach().flatten().double() for w in weights]) / 0.02
        n = len(flat)
        # five standard errors: of a mean, of a variance, of a fourth moment
        assert abs(flat.mean()) < 5 / n**0.5
        assert abs(flat.square().mean() - 1) < 5 * (2 / n) ** 0.5
        assert abs(flat.pow(4).mean() - 3) < 5 * (96 / n) ** 0.5
        biases = [p for name, p in network.named_parameters() if "bias" in name]
        assert biases and not any(b.any() for b in biases)
        gains = [m.weight for m in network if isinstance(m, nn.BatchNorm2d)]
        assert gains and all((g == 1).all() for g in gains)


# What the layers do.


@pytest.mark.parametrize("stride, padding, side", [(1, 0, 4), (2, 1, 8), (2, 1, 16)])
def test_a_transposed_convolution_is_the_adjoint_of_the_strided_one(
    stride: int, padding: int, side: int
) -> None:
    options = {"stride": stride, "padding": padding, "bias": False}
    down = nn.Conv2d(3, 5, 4, **options).double()
    up = nn.ConvTranspose2d(5, 3, 4, **options).double()
    up.weight = down.weight
    x = torch.randn(2, 3, side, side, generator=seeded(1), dtype=torch.float64)
    y = torch.randn(down(x).shape, generator=seeded(2), dtype=torch.float64)
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_range(channels: int, size: int) -> None:
    base = dcgan_generator(7, channels, 4, size, generator=seeded())
    critic = dcgan_critic(channels, 4, size, generator=seeded())
    x = base(100 * torch.randn(5, 7, generator=seeded()))
    assert x.shape == (5, channels, size, size)
    assert x.abs().max() <= 1
    assert critic(x).shape == (5, 1)


def test_channels_double_as_the_picture_halves() -> None:
    base, critic = networks(size=64, width=6)
    up = [m.out_channels for m in base if isinstance(m, nn.ConvTranspose2d)]
    down = [m.out_channels for m in critic if isinstance(m, nn.Conv2d)]
    assert up == [48, 24, 12, 6, 3]
    assert down == [6, 12, 24, 48, 1]


def test_first_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = networks(), networks()
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first, second, strict=True):
        for key, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[key])
    other = dcgan_generator(10, 3, 4, generator=seeded(1))
    assert not torch.equal(other[1].weight, first[0][1].weight)


def test_an_image_depends_on_its_batch_in_training_mode_only() -> None:
    base = small(generator=seeded())
    z = base.sample_latent(8, generator=seeded(1))
    whole, alone = base(z), base(z[:3])
    assert (whole[:3] - alone).abs().max() > 1e-3
    base.eval()
    torch.testing.assert_close(base(z)[:3], base(z[:3]))


def test_the_critic_learns_to_tell_one_grey_from_another() -> None:
    base = small(generator=seeded())
    critic = dcgan_critic(width=4, size=8, generator=seeded(1))
    data = torch.full((64, 3, 8, 8), 0.5) + 0.1 * torch.randn(
        64, 3, 8, 8, generator=seeded(2)
    )
    options = {"lr": 2e-3, "betas": (0.5, 0.999), "batch_size": 32, "progress": False}
    kw = {"train_base": False, "generator": seeded(3)}
    history = train_gan(base, critic, data, "non_saturating", 60, **options, **kw)
    # a coin flip for each of data and samples to begin with
    assert history.critic_loss[0] == pytest.approx(2 * 0.6931, abs=0.05)
    assert history.critic_loss[-1] < 0.5


# Files.


def test_a_file_gives_the_same_images_back(tmp_path: Path) -> None:
    base = small(channels=1, generator=seeded())
    base.train()
    base.sample(16, generator=seeded(1))  # moves the running averages
    base.eval()
    path, sheet = tmp_path / "base.safetensors", torch.arange(4, dtype=torch.uint8)
    save_dcgan(path, base, dtype=torch.float32, extra={"sheet": sheet})
    loaded = load_dcgan(path)
    assert (loaded.latent_name, loaded.latent_dim) == ("gaussian", 6)
    assert not loaded.training
    z = base.sample_latent(5, generator=seeded(2))
    assert torch.equal(loaded(z), base(z))
    save_dcgan(path, base)  # half precision: weights move by at most one part in 2,048
    rounded = load_dcgan(path).network.state_dict()
    for key, value in base.network.state_dict().items():
        atol = 2**-25  # half of the least positive number
        torch.testing.assert_close(rounded[key], value, rtol=2**-11, atol=atol)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_dcgan(tmp_path / "none.safetensors")
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not written by save_dcgan"):
        load_dcgan(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not written by save_dcgan"):
        load_dcgan(path)


def test_only_a_dcgan_is_written(tmp_path: Path) -> None:
    base = Generator(nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (1, 2, 2))))
    with pytest.raises(ValueError, match="dcgan_generator"):
        save_dcgan(tmp_path / "base.safetensors", base)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": 12}, "power of two"),
        ({"size": 4}, "size must be at least 8"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_sizes_that_cannot_be(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dcgan_generator(4, **change)
    with pytest.raises(ValueError, match=message):
        dcgan_critic(**change)


def test_other_mistakes() -> None:
    with pytest.raises(ValueError, match="latent_dim must be at least 1"):
        dcgan_generator(0)
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        dcgan_critic(generator=0)


# What is shipped.


def test_the_shipped_samples_are_those_of_the_shipped_weights() -> None:
    path = FOLDER / "cats.safetensors"
    base, tensors = load_dcgan(path), load_file(path)
    epochs = sorted(int(k.removeprefix("epoch/")) for k in tensors if "epoch/" in k)
    sheets = [tensors[f"epoch/{e}"] for e in epochs]
    made = (base.sample(36, generator=seeded(0)) + 1) * 127.5
    # rounding to whole grey levels, and the last bits of another processor
    assert (made - sheets[-1]).abs().max() < 0.51
    for sheet in sheets[:-1]:  # the same latents, other weights
        assert (made - sheet).abs().mean() > 5


def shipped() -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Rows and tensors of digits and MNIST."""
    rows = json.loads((FOLDER / "images.json").read_text())
    return rows, load_file(FOLDER / "images.safetensors")


def test_every_run_has_its_samples_and_its_truth() -> None:
    rows, tensors = shipped()
    truths = {row["data"] for row in rows if row["name"] == "truth"}
    runs = [row for row in rows if row["name"] != "truth"]
    assert truths == {row["data"] for row in runs} == {"digits", "mnist", "cats"}
    for row in runs:
        assert len(row["sliced"]) == len(row["epoch"]) == len(row["nearest"])
        assert len(row["critic_loss"]) == len(row["step"]) == len(row["base_loss"])
        assert row["epoch"][-1] == row["n_epochs"]
        if row["data"] != "cats":
            sheet = tensors[
                f"{row['data']}/{row['name']}/{row['seed']}/{row['n_epochs']}"
            ]
            side = 8 if row["data"] == "digits" else 28
            assert sheet.dtype == torch.uint8 and sheet.shape[1:] == (side, side)
            assert {sum(labels) for labels in row["labels"]} == {row["n_samples"]}


@pytest.mark.parametrize("name", ["digits/standard/0", "digits/penalty/0"])
def test_shipped_perceptrons_make_the_shipped_samples(name: str) -> None:
    _, tensors = shipped()
    network = nn.Sequential(*mlp([16, 64, 128, 64], init="torch"), nn.Tanh())
    prefix = f"{name}/generator."
    state = {
        key.removeprefix(prefix): value.float()
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    network.load_state_dict(state)
    made = (Generator(network).sample(64, generator=seeded(0)) + 1) * 127.5
    # half precision keeps eleven bits, a byte eight: apart from the rounding to bytes,
    # at most 1/2 and 1/4 on average, the weights' rounding moves little
    gap = (made.view(64, 8, 8) - tensors[f"{name}/200"]).abs()
    assert gap.mean() < 0.5
