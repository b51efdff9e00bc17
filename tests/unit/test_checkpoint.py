"""Models come back from disk as they were, or not at all."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributions import Independent, Laplace

import ebmlib._files
from ebmlib.checkpoint import (
    architecture,
    load_models,
    load_networks,
    prior_sd,
    save_models,
    save_networks,
)
from ebmlib.energy import TiltedEnergy, gaussian, mlp


def model(widths=(2, 5, 1), activation="relu", prior=None, seed=0, dtype=None):
    generator = torch.Generator().manual_seed(seed)
    network = mlp(list(widths), activation, init="torch", generator=generator)
    return TiltedEnergy(network.to(dtype or torch.float32), prior)


MODELS = {
    "z/first": model(prior=gaussian(sd=0.1)),
    "a second": model((3, 4, 4, 1), "softplus", gaussian(3)),
    "leaky": model((1, 3, 1), "leaky_relu", seed=1),
    "double": model((2, 3, 1), "tanh", dtype=torch.float64),
    "affine": model((2, 1)),
}


def test_models_come_back_bit_for_bit_and_in_order(tmp_path):
    path = tmp_path / "models.safetensors"
    save_models(path, MODELS)
    before = torch.get_rng_state()
    loaded = load_models(str(path))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(loaded) == list(MODELS)
    for name, ours in MODELS.items():
        theirs = loaded[name]
        dtype = next(ours.parameters()).dtype
        x = torch.linspace(-2, 2, 12, dtype=dtype).reshape(
            -1, ours.network[0].in_features
        )
        assert torch.equal(ours.energy(x), theirs.energy(x))
        assert str(ours.network) == str(theirs.network)
        assert prior_sd(ours) == prior_sd(theirs)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["save_file", "replace"])
def test_a_failing_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, place):
    path = tmp_path / "models.safetensors"
    save_models(path, MODELS)
    old = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    owner = ebmlib._files if place == "save_file" else ebmlib._files.os
    monkeypatch.setattr(owner, place, fail)
    with pytest.raises(OSError, match="disk full"):
        save_models(path, {"other": model(seed=7)})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_not_there_or_not_ours(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none\.st"):
        load_models(tmp_path / "none.st")
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        save_models(tmp_path / "missing" / "models.safetensors", MODELS)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(2)}, foreign)
    with pytest.raises(ValueError, match="does not say how to rebuild"):
        load_models(foreign)
    foreign.write_bytes(b"a pickle, perhaps")
    with pytest.raises(ValueError, match="was not written by save_models"):
        load_models(foreign)
    spec = {"name": "m", "widths": [2, 1], "activation": "relu", "prior_sd": None}
    metadata = {"models": json.dumps({"m": spec})}
    save_file({"w": torch.zeros(2)}, foreign, metadata=metadata)
    with pytest.raises(ValueError, match="was not written by save_models"):
        load_models(foreign)


@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(2, 1),
        nn.Sequential(),
        nn.Sequential(nn.Linear(2, 3), nn.ReLU()),
        nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.2), nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)),
        nn.Sequential(nn.ReLU(), nn.Linear(2, 3), nn.ReLU()),
        nn.Sequential(
            nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)
        ),
    ],
)
def test_networks_that_could_not_be_rebuilt_are_refused(network, tmp_path):
    with pytest.raises(ValueError, match="network must be affine layers and one activ"):
        save_models(tmp_path / "m.safetensors", {"m": TiltedEnergy(network)})
    assert not list(tmp_path.iterdir())


def test_architecture_says_what_mlp_was_told():
    assert architecture(mlp([2, 7, 3, 1], "tanh")) == ([2, 7, 3, 1], "tanh")
    assert architecture(mlp([4, 1])) == ([4, 1], "relu")


def test_other_priors_are_refused():
    assert prior_sd(model()) is None
    assert prior_sd(model(prior=gaussian(sd=0.5))) == 0.5
    shifted = gaussian()
    shifted.base_dist.loc += 1
    uneven = gaussian()
    uneven.base_dist.scale[0] = 2
    laplace = Independent(Laplace(torch.zeros(2), 1.0), 1)
    for prior in (shifted, uneven, laplace):
        with pytest.raises(
            ValueError, match=r"prior must be None or ebmlib\.energy\.gau"
        ):
            prior_sd(model(prior=prior))


def test_nothing_to_save_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="models must hold at least one model"):
        save_models(tmp_path / "m.safetensors", {})


NETWORKS = {
    "0/base": mlp([2, 6, 5, 2], init="torch", generator=torch.Generator()),
    "0/critic": mlp([2, 4, 1], "leaky_relu", init="torch").double(),
}


def test_networks_come_back_bit_for_bit_and_in_order(tmp_path):
    path = tmp_path / "networks.safetensors"
    save_networks(path, NETWORKS)
    before = torch.get_rng_state()
    loaded = load_networks(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(loaded) == list(NETWORKS)
    for name, ours in NETWORKS.items():
        theirs = loaded[name]
        assert str(ours) == str(theirs)
        x = torch.linspace(-2, 2, 12, dtype=ours[0].weight.dtype).reshape(-1, 2)
        assert torch.equal(ours(x), theirs(x))
    assert list(tmp_path.iterdir()) == [path]


def test_networks_and_models_are_not_taken_for_each_other(tmp_path):
    networks, models = tmp_path / "networks.st", tmp_path / "models.st"
    save_networks(networks, NETWORKS)
    save_models(models, MODELS)
    with pytest.raises(ValueError, match="how to rebuild its models"):
        load_models(networks)
    with pytest.raises(ValueError, match="how to rebuild its networks"):
        load_networks(models)


def test_networks_that_cannot_be_saved_or_read(tmp_path):
    path = tmp_path / "networks.safetensors"
    with pytest.raises(ValueError, match="networks must hold at least one network"):
        save_networks(path, {})
    with pytest.raises(ValueError, match="network must be affine layers and one activ"):
        save_networks(path, {"n": nn.Sequential(nn.Linear(2, 3), nn.ReLU())})
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_networks(path)
    path.write_bytes(b"a pickle, perhaps")
    with pytest.raises(ValueError, match="was not written by save_networks"):
        load_networks(path)
