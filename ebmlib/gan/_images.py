"""Convolutional generators and critics of images, by the rules of DCGAN."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ebmlib._checks import check_generator, check_int
from ebmlib._files import PathLike, open_tensors, save_tensors
from ebmlib.gan._networks import Generator

SD = 0.02  # of the first weights
SLOPE = 0.2  # of the critic's activations, left of zero
SMALLEST = 4  # side of the smallest picture inside the networks


def dcgan_generator(
    latent_dim: int,
    channels: int = 3,
    width: int = 32,
    size: int = 32,
    *,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Generator of square images: transposed convolutions, each doubling the side.

    The rules are those of Radford et al. (2016, section 3): fractional strides in place
    of unpooling, batch normalisation after every layer but the output, no hidden fully
    connected layers, ReLU inside and tanh at the end; weights start normal with mean 0
    and standard deviation 0.02.

    Parameters
    ----------
    latent_dim : int
        Numbers in a latent point.
    channels : int
        3 for colour, 1 for grey.
    width : int
        Channels before the last layer; every layer before has twice as many.
    size : int
        Side of the images in pixels: a power of two, at least 8.
    generator : torch.Generator, optional
        For the first weights.

    Returns
    -------
    nn.Sequential
        Maps (n, latent_dim) to pixels (n, channels, size, size) in [-1, 1].

    Notes
    -----
    In training mode an image depends on the batch that it is made in.  ``eval()``
    replaces the batch's statistics by running averages, and makes each image a function
    of its own latent point.
    """
    check_int("latent_dim", latent_dim, 1)
    widths = _widths(channels, width, size)[::-1]
    check_generator(generator)
    layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
    stride, fan_in = {"stride": 1, "padding": 0}, latent_dim  # a point becomes 4 x 4
    for fan_out in widths:
        layers += [_convolution(nn.ConvTranspose2d, fan_in, fan_out, **stride)]
        layers += [nn.BatchNorm2d(fan_out), nn.ReLU()]
        stride, fan_in = {"stride": 2, "padding": 1}, fan_out
    output = _convolution(nn.ConvTranspose2d, fan_in, channels, bias=True, **stride)
    return _initialised(nn.Sequential(*layers, output, nn.Tanh()), generator)


def dcgan_critic(
    channels: int = 3,
    width: int = 32,
    size: int = 32,
    *,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Critic of square images: strided convolutions, each halving the side.

    The generator's mirror image (Radford et al. 2016, section 3): strides in place of
    pooling, batch normalisation after every layer but the first and the output, leaky
    ReLU with slope 0.2.

    Parameters
    ----------
    channels : int
    width : int
        Channels after the first layer; every layer after has twice as many.
    size : int
        Side of the images in pixels: a power of two, at least 8.
    generator : torch.Generator, optional
        For the first weights.

    Returns
    -------
    nn.Sequential
        Maps images (n, channels, size, size) to values (n, 1): logits, high on data.
    """
    widths = _widths(channels, width, size)
    check_generator(generator)
    layers: list[nn.Module] = []
    stride, fan_in = {"stride": 2, "padding": 1}, channels
    for depth, fan_out in enumerate(widths):
        first = depth == 0
        layers += [_convolution(nn.Conv2d, fan_in, fan_out, bias=first, **stride)]
        layers += [] if first else [nn.BatchNorm2d(fan_out)]
        layers += [nn.LeakyReLU(SLOPE)]
        fan_in = fan_out
    output = _convolution(nn.Conv2d, fan_in, 1, bias=True, stride=1, padding=0)
    return _initialised(nn.Sequential(*layers, output, nn.Flatten()), generator)


def save_dcgan(
    path: PathLike,
    base: Generator,
    *,
    dtype: torch.dtype = torch.float16,
    extra: Mapping[str, Tensor] | None = None,
    **metadata: object,
) -> None:
    """Write a generator made with :func:`dcgan_generator`.

    Parameters
    ----------
    path : path
    base : Generator
    dtype : torch.dtype
        Of the weights in the file; biases and batch normalisation stay as they are.
    extra : mapping of str to Tensor, optional
        Further tensors for the file, such as samples.
    **metadata
        Anything that JSON can hold.

    Raises
    ------
    ValueError
        If ``base`` holds another kind of network.
    """
    layers = base.network.modules()
    convolutions = [m for m in layers if isinstance(m, nn.ConvTranspose2d)]
    if not convolutions:
        raise ValueError(
            "base must hold a network that dcgan_generator made, got one without "
            "transposed convolutions"
        )
    last = convolutions[-1]
    shape = {
        "latent_dim": base.latent_dim,
        "channels": last.out_channels,
        "width": last.in_channels,
        "size": SMALLEST * 2 ** (len(convolutions) - 1),
    }
    tensors = {
        f"generator.{name}": t.to(dtype) if t.ndim > 1 else t
        for name, t in base.network.state_dict().items()
    }
    save_tensors(
        path,
        tensors | dict(extra or {}),
        shape=shape,
        latent=base.latent_name,
        **metadata,
    )


def load_dcgan(path: PathLike) -> Generator:
    """Read a generator written by :func:`save_dcgan`.

    Returns
    -------
    Generator
        In float32 and in evaluation mode: each image depends on its latent point only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it was not written by :func:`save_dcgan`.
    """
    with open_tensors(path, "save_dcgan") as file:
        head = file.metadata() or {}
        if not {"shape", "latent"} <= set(head):
            raise ValueError(f"{path} was not written by save_dcgan: no shape in it")
        shape = json.loads(head["shape"])
        # the weights drawn here are replaced at once
        network = dcgan_generator(**shape, generator=torch.Generator())
        state = {
            name: file.get_tensor(f"generator.{name}").to(like.dtype)
            for name, like in network.state_dict().items()
        }
    network.load_state_dict(state)
    latent = json.loads(head["latent"])
    return Generator(network, latent, latent_dim=shape["latent_dim"]).eval()


def _widths(channels: int, width: int, size: int) -> list[int]:
    """Channels of the hidden pictures, from the largest picture to the smallest."""
    check_int("channels", channels, 1)
    check_int("width", width, 1)
    check_int("size", size, 2 * SMALLEST)
    if size & (size - 1):
        raise ValueError(f"size must be a power of two, got {size}")
    doublings = (size // SMALLEST).bit_length() - 1
    return [width * 2**k for k in range(doublings)]


def _convolution(
    kind: type[nn.Module],
    fan_in: int,
    fan_out: int,
    *,
    bias: bool = False,
    **stride: int,
) -> nn.Module:
    """A layer of 4 x 4 kernels; its bias would be lost in batch normalisation."""
    # skip_init: with a generator given, the global one must stay untouched
    return nn.utils.skip_init(
        kind, fan_in, fan_out, kernel_size=SMALLEST, bias=bias, **stride
    )


def _initialised(
    network: nn.Sequential, generator: torch.Generator | None
) -> nn.Sequential:
    """Normal weights, biases of zero."""
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.weight.normal_(0, SD, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
    return network
