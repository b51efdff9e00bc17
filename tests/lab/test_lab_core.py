"""The EBM Lab's core is JavaScript: these tests run its own tests, and its bundler's.

What is only arithmetic is tested by node (``*.test.mjs``); here it is held together
with Python: fixtures are what the library says, weights travel in both directions.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ebmlib.checkpoint import load_models, save_models
from ebmlib.energy import TiltedEnergy, gaussian, mlp
from tests.conftest import ROOT, missing

HERE = Path(__file__).parent
REPORT = re.compile(r"^(?:# )?((?:agreement|speed|size|preset)\b.*)$", re.MULTILINE)


def run(*command: str, **options: object) -> str:
    """Output of a command in the repository's root; its whole output if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@pytest.mark.parametrize(
    "file", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0]
)
def test_core(file: Path, node: str, record_property: pytest.FixtureRequest) -> None:
    printed = run(node, "--test", "--test-reporter=tap", str(file))
    counts = dict(
        re.findall(r"^# (tests|pass|fail|skipped|todo) (\d+)$", printed, re.M)
    )
    assert int(counts["tests"]) > 0
    assert counts["pass"] == counts["tests"]
    for line in REPORT.findall(printed):
        record_property("lab", line)


def tool(name: str) -> str:
    """Path of an installed tool of package.json."""
    path = ROOT / "node_modules" / ".bin" / name
    if not path.exists():
        missing(
            "no node_modules: run `make lab-tools`; the EBM Lab's types and bundle "
            "were not checked",
            "EBM_REQUIRE_NODE",
        )
    return str(path)


def test_types(node: str) -> None:
    assert run(tool("tsc"), "-p", "tsconfig.json") == ""


def test_bundle_is_current_and_small(
    node: str, record_property: pytest.FixtureRequest
) -> None:
    tool("esbuild")
    printed = run(node, "ebmlib/widgets/lab/build.mjs", "--check")
    record_property("lab", f"size: {printed.strip()}")


def test_lock_names_no_host() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
    assert all("resolved" not in entry for entry in lock["packages"].values())
    pinned = json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"]
    for name, version in pinned.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert lock["packages"][f"node_modules/{name}"]["version"] == version


def test_fixtures_are_what_the_library_says() -> None:
    module = runpy.run_path(str(HERE / "make_fixtures.py"))
    kept = json.loads((HERE / "fixtures.json").read_text("utf-8"))
    fresh = module["build"]()
    assert module["same"](kept, fresh)
    kept["networks"][0]["f"][3] += 1e-9  # the comparison can tell
    assert not module["same"](kept, fresh)


def exchange(node: str, *arguments: str) -> torch.Tensor:
    """The energies that the core's side of the exchange prints."""
    printed = run(node, str(HERE / "exchange.mjs"), *arguments)
    return torch.tensor(json.loads(printed), dtype=torch.float64)


CASES = [
    ([2, 32, 16, 1], "relu", 0),
    ([2, 8, 1], "softplus", 0.3),
    ([2, 7, 5, 1], "leaky_relu", 0.1),
    ([2, 64, 64, 1], "tanh", 0.05),
]


@pytest.mark.parametrize(("widths", "activation", "sd"), CASES)
def test_python_reads_the_labs_weights(
    widths: list[int], activation: str, sd: float, tmp_path: Path, node: str
) -> None:
    path = tmp_path / "lab.safetensors"
    described = json.dumps({"widths": widths, "activation": activation, "sd": sd})
    energies = exchange(node, "write", str(path), described)
    (model,) = load_models(path).values()
    assert next(model.parameters()).dtype == torch.float64
    assert (model.prior is None) == (sd == 0)
    assert_same_energies(model, energies)


@pytest.mark.parametrize(("widths", "activation", "sd"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_lab_reads_pythons_weights(
    widths: list[int],
    activation: str,
    sd: float,
    dtype: torch.dtype,
    tmp_path: Path,
    node: str,
) -> None:
    generator = torch.Generator().manual_seed(3)
    network = mlp(widths, activation, init="torch", generator=generator).to(dtype)
    prior = gaussian(2, sd=sd, dtype=torch.float64) if sd else None
    path = tmp_path / "python.safetensors"
    save_models(path, {"ring": TiltedEnergy(network, prior)})
    energies = exchange(node, "read", str(path))
    model = TiltedEnergy(network.double(), prior)  # its weights, in exact arithmetic
    assert_same_energies(model, energies)


def assert_same_energies(model: TiltedEnergy, energies: torch.Tensor) -> None:
    """The same energies at the points of exchange.mjs, to 1e-12 of the largest."""
    k = torch.arange(200, dtype=torch.float64)
    x = torch.stack([(k % 20) / 10 - 0.95, (k / 20).floor() / 5 - 0.9], dim=1)
    expected = model.energy(x).detach()
    gap = float((energies - expected).abs().max() / expected.abs().max())
    assert gap < 1e-12


def test_files_that_are_none_are_refused(tmp_path: Path, node: str) -> None:
    done = subprocess.run(
        [node, str(HERE / "exchange.mjs"), "read", sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "RangeError" in done.stderr
