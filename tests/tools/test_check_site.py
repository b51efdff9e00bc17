"""Every check of the built pages, shown to fail on the page that it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_site

PAGE = "<html><head>{head}</head><body><h1 id='top'>Title</h1>{body}</body></html>"


@pytest.fixture
def make_site(tmp_path: Path):
    """Return a function that makes a site of two pages, a picture and a style."""

    def make(body: str = "", head: str = "", css: str = "", js: str = "") -> Path:
        (tmp_path / "index.html").write_text(PAGE.format(body=body, head=head), "utf-8")
        (tmp_path / "pages").mkdir(exist_ok=True)
        other = PAGE.format(body="<a name='old'></a>", head="")
        (tmp_path / "pages" / "other page.html").write_text(other, "utf-8")
        (tmp_path / "picture.png").write_bytes(b"")
        (tmp_path / "style.css").write_text(css, "utf-8")
        (tmp_path / "script.mjs").write_text(js, "utf-8")
        check_site.parse.cache_clear()
        check_site.anchors.cache_clear()
        return tmp_path

    return make


GOOD = [
    "<a href='pages/other%20page.html#old'>there</a>",
    "<a href='#top'>up</a> <a href='#'>here</a> <a href=''>here</a>",
    "<a href='https://example.org/'>a link that a reader may follow</a>",
    "<a href='mailto:nobody@example.org'>write</a>",
    "<img src='picture.png' alt='Two curves that cross once.'>",
    "<img src='data:image/png;base64,AAAA' alt='A ring of points.'>",
    "<svg role='img' aria-label='A map'></svg>",
    "<svg role='img'><title>A map</title></svg>",
    "<script>const page = 'https://example.org/';</script>",
    "<div style='background: url(picture.png)'></div>",
    "<style>a { background: url('data:image/png;base64,AA') }</style>",
    "<picture><source srcset='picture.png 1x, picture.png 2x'></picture>",
]


@pytest.mark.parametrize("body", GOOD)
def test_good_pages_pass(make_site, body: str) -> None:
    assert check_site.check(make_site(body)) == []


BAD = {
    "<a href='missing.html'>x</a>": "a link leads to no file: missing.html",
    "<a href='pages/'>x</a>": "a link leads to no file",
    "<a href='#nowhere'>x</a>": "a link leads to no place on the page: #nowhere",
    "<a href='pages/other page.html#no'>x</a>": "a link leads to no place on the page",
    "<a href='../secret.html'>x</a>": "a link leads out of the site",
    "<img src='picture.png'>": "has no alt text",
    "<img src='picture.png' alt='  '>": "has no alt text",
    "<img src='picture.png' alt='picture.png'>": "alt text that says nothing",
    "<img src='picture.png' alt='../_images/a.png'>": "alt text that says nothing",
    "<img src='picture.png' alt='Figure'>": "alt text that says nothing",
    "<svg role='img'></svg>": "role of a picture has no name",
    "<img src='https://example.org/a.png' alt='A ring.'>": "loads from another host",
    "<img srcset='picture.png, //example.org/b.png 2x' alt='A ring.'>": (
        "loads from another host: //example.org/b.png"
    ),
    "<img src='gone.png' alt='A ring.'>": "loads a file that is not there: gone.png",
    "<script src='https://example.org/a.js'></script>": "loads from another host",
    "<script src='//example.org/a.js'></script>": "loads from another host",
    "<script>import 'https://example.org/a.mjs'</script>": "a script on it loads",
    "<script>fetch('https://example.org/a.json')</script>": "a script on it loads",
    "<iframe src='https://example.org/'></iframe>": "loads from another host",
    "<video src='https://example.org/a.webm'></video>": "loads from another host",
    "<style>@import 'https://example.org/a.css';</style>": "loads from another host",
    "<p style='background: url(//example.org/a.png)'>x</p>": "loads from another host",
    "<p id='top'>x</p>": "uses the id 'top' 2 times",
    "<script type='application/vnd.jupyter.widget-view+json'>{}</script>": (
        "dead without a kernel"
    ),
}


@pytest.mark.parametrize(("body", "message"), BAD.items())
def test_bad_pages_are_found(make_site, body: str, message: str) -> None:
    found = check_site.check(make_site(body))
    assert len(found) == 1, found
    assert found[0].startswith("index.html: ")
    assert message in found[0]


@pytest.mark.parametrize(
    "head",
    [
        "<link rel='stylesheet' href='https://example.org/a.css'>",
        "<link rel='preconnect' href='https://example.org'>",
        "<link rel='icon' href='https://example.org/favicon.ico'>",
        "<meta http-equiv='Refresh' content='0; url=https://example.org/'>",
    ],
)
def test_heads_are_read_too(make_site, head: str) -> None:
    (found,) = check_site.check(make_site(head=head))
    assert "loads from another host" in found


def test_canonical_links_are_no_loads(make_site) -> None:
    head = "<link rel='canonical' href='https://example.org/'>"
    assert check_site.check(make_site(head=head)) == []


@pytest.mark.parametrize(
    ("css", "message"),
    [
        ("@import url(https://example.org/a.css);", "loads from another host"),
        ("@font-face { src: url('//example.org/a.woff') }", "loads from another host"),
        ("a { background: url(gone.png) }", "loads a file that is not there"),
    ],
)
def test_style_sheets_are_read(make_site, css: str, message: str) -> None:
    (found,) = check_site.check(make_site(css=css))
    assert found.startswith("style.css: ")
    assert message in found


def test_comments_of_a_style_sheet_load_nothing(make_site) -> None:
    css = "/* url(https://example.org/a.css) */ a { background: url('picture.png') }"
    assert check_site.check(make_site(css=css)) == []


@pytest.mark.parametrize(
    "js",
    [
        "import x from 'https://example.org/x.mjs';",
        "const x = await import('https://example.org/x.mjs');",
        "image.src = 'https://example.org/x.png';",
        "importScripts('//example.org/x.js')",
    ],
)
def test_scripts_are_read(make_site, js: str) -> None:
    (found,) = check_site.check(make_site(js=js))
    assert found.startswith("script.mjs: loads from another host")


def test_no_site_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make book"):
        check_site.check(tmp_path)


def test_the_command_line(make_site, capsys) -> None:
    assert check_site.main([str(make_site())]) == 0
    assert check_site.main([str(make_site("<img src='picture.png'>"))]) == 1
    captured = capsys.readouterr()
    assert "1 faults" in captured.out
    assert "has no alt text" in captured.err
