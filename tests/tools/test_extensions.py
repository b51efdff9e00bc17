"""The book's Sphinx extensions: launch buttons, offline mathematics."""

from __future__ import annotations

import importlib.util
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).resolve().parent.parent.parent


def load(name: str) -> ModuleType:
    """Import an extension from book/_ext."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"book/_ext/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


launch = load("ebm_launch")
offline = load("ebm_offline")
proofs = load("ebm_proofs")


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://github.com/owner/name", "https://github.com/owner/name"),
        ("https://github.com/owner/name/\n", "https://github.com/owner/name"),
        ("https://user:secret@github.com/owner/name", "https://github.com/owner/name"),
        ("git@github.com:owner/name.git", "https://github.com/owner/name"),
        ("git@github.com:owner/na.me.git", "https://github.com/owner/na.me"),
        ("ssh://git@github.com/owner/name.git", "https://github.com/owner/name"),
        ("ssh://git@host.org:2222/owner/name", "https://host.org/owner/name"),
        ("git@gitlab.com:group/sub/name.git", "https://gitlab.com/group/sub/name"),
        ("/srv/git/name.git", None),
        ("../name", None),
        ("file:///srv/git/name.git", None),
        ("http://127.0.0.1:8080/git/name", None),
        ("https://localhost/owner/name", None),
        ("", None),
    ],
)
def test_the_address_of_a_remote(remote: str, address: str | None) -> None:
    assert launch.web_address(remote) == address


def git_repository(folder: Path, remote: str | None) -> Path:
    """Make a repository with or without an origin."""
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    if remote is not None:
        command = ["git", "-C", str(folder), "remote", "add", "origin", remote]
        subprocess.run(command, check=True)
    return folder


def test_the_environment_names_the_repository_first(tmp_path: Path) -> None:
    root = git_repository(tmp_path, "git@github.com:other/name.git")
    named = {"GITHUB_REPOSITORY": "owner/name"}
    assert launch.find_repository(root, named) == "https://github.com/owner/name"
    own = named | {"GITHUB_SERVER_URL": "https://git.example.org"}
    assert launch.find_repository(root, own) == "https://git.example.org/owner/name"
    assert launch.find_repository(root, {}) == "https://github.com/other/name"
    bad = {"GITHUB_REPOSITORY": "no repository"}
    assert launch.find_repository(root, bad) == "https://github.com/other/name"


def test_an_unknown_repository_is_none(tmp_path: Path) -> None:
    assert launch.find_repository(git_repository(tmp_path, None), {}) is None
    assert launch.find_repository(tmp_path / "missing", {}) is None


def set_options(root: Path) -> dict[str, object]:
    """Return the theme's options as the extension leaves them."""
    given = {"repository_url": "https://github.com/x/y", "search_bar_text": "Search"}
    config = SimpleNamespace(html_theme_options=given)
    launch.set_launch_buttons(SimpleNamespace(srcdir=str(root)), config)
    return config.html_theme_options


def test_no_repository_no_buttons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    options = set_options(git_repository(tmp_path, None))
    assert options.pop("search_bar_text") == "Search"
    assert not any(options.values()), "not even Jupyter Book's own repository"


def test_buttons_lead_to_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    monkeypatch.setenv("GITHUB_REF_NAME", "trunk")
    options = set_options(tmp_path)
    assert options["repository_url"] == "https://github.com/owner/name"
    assert options["repository_branch"] == "trunk"
    assert options["launch_buttons"]["binderhub_url"]
    assert options["launch_buttons"]["colab_url"]
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.org")
    assert not set_options(tmp_path)["launch_buttons"]["colab_url"], (
        "Colab needs GitHub"
    )


def test_mathjax_is_copied_in_part(tmp_path: Path) -> None:
    app = SimpleNamespace(
        outdir=str(tmp_path), builder=SimpleNamespace(format="html"), srcdir=str(ROOT)
    )
    offline.copy_mathjax(app, None)
    offline.copy_mathjax(app, None)
    folder = tmp_path / "_static" / "mathjax"
    assert (folder / "tex-mml-chtml.js").is_file()
    assert (folder / "input/tex/extensions/mathtools.js").is_file()
    assert (folder / "output/chtml/fonts/woff-v2/MathJax_Main-Regular.woff").is_file()
    assert not (folder / "sre").exists(), "speech, which takes most of the room"


def test_mathjax_is_not_copied_after_a_failure(tmp_path: Path) -> None:
    html = SimpleNamespace(outdir=str(tmp_path), builder=SimpleNamespace(format="html"))
    latex = SimpleNamespace(
        outdir=str(tmp_path), builder=SimpleNamespace(format="latex")
    )
    offline.copy_mathjax(html, RuntimeError("failed"))
    offline.copy_mathjax(latex, None)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_mathjax_is_named(monkeypatch, tmp_path: Path) -> None:
    empty = SimpleNamespace(locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(offline, "distribution", lambda name: empty)
    with pytest.raises(FileNotFoundError, match=r"no tex-mml-chtml\.js in"):
        offline.mathjax_source()

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(offline, "distribution", missing)
    with pytest.raises(PackageNotFoundError, match="sphinx-mathjax-offline"):
        offline.mathjax_source()


def test_repeated_ids_are_dropped() -> None:
    document = new_document("page")
    document += [
        nodes.section(ids=["solution-content"]),
        nodes.section(ids=["solution-content", "kept"]),
        nodes.section(ids=["title"]),
    ]
    offline.drop_repeated_ids(SimpleNamespace(), document, "page")
    found = [section["ids"] for section in document.findall(nodes.section)]
    assert found == [[], ["kept"], ["title"]]


def test_every_proof_has_an_id_of_its_own() -> None:
    document = new_document("page")
    ids = (["proof"], ["a-note"], ["proof"])
    document += [nodes.admonition(ids=list(given)) for given in ids]
    proofs.number_proofs(SimpleNamespace(), document)
    assert [node["ids"] for node in document] == [["proof-1"], ["a-note"], ["proof-2"]]
