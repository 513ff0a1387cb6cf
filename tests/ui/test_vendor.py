"""What is vendored is what the manifest says, and everything that pages name is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from tests.ui.refresh_vendor import ICONS, PACKAGES, VENDOR, sha256_of, without_source_map
from workspaces.brand_marks import BRAND_MARKS, HUES
from workspaces.templatetags.ui import CALLOUT_ICONS, GRANT_TYPES, STATUS_BADGES

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())["files"]


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_each_vendored_file_has_the_digest_of_the_manifest(entry: dict[str, str]) -> None:
    """A file that was changed by hand, or cut off, is found."""
    assert sha256_of((VENDOR / entry["file"]).read_bytes()) == entry["sha256"]


def test_nothing_is_vendored_that_the_manifest_does_not_name() -> None:
    """Each file has a package, a version and a licence."""
    found = {
        str(path.relative_to(VENDOR))
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name not in {"manifest.json", "README.md"}
    }
    assert found == {entry["file"] for entry in MANIFEST}


def test_versions_are_exact_and_integrity_is_npms() -> None:
    """What the script would fetch is what the manifest lists."""
    wanted = {package.name: package.version for package in PACKAGES}
    assert {entry["package"]: entry["version"] for entry in MANIFEST} == wanted
    assert all(entry["integrity"].startswith("sha512-") for entry in MANIFEST)


def test_no_file_points_at_a_source_map_or_a_foreign_host() -> None:
    """Manifest storage fails on a dangling pointer; the CSP refuses foreign hosts."""
    for path in [*VENDOR.rglob("*.css"), *VENDOR.rglob("*.js"), *(ROOT / "static/css").glob("*.css")]:
        content = path.read_bytes()
        assert without_source_map(content) == content, path
        assert not re.search(rb"url\(\s*[\"']?(https?:)?//|@import", content), path


def symbols(sprite: str) -> set[str]:
    return set(re.findall(r'<symbol id="([^"]+)"', (VENDOR / sprite).read_text()))


def test_the_sprites_hold_exactly_what_is_listed() -> None:
    """An icon or mark that a page may name exists."""
    assert symbols("tabler-icons/sprite.svg") == set(ICONS)
    assert symbols("simple-icons/sprite.svg") == set(BRAND_MARKS)
    colours = (VENDOR / "simple-icons/brands.css").read_text()
    assert set(re.findall(r"\.brand-([a-z0-9]+)\{", colours)) == set(BRAND_MARKS)


def test_every_icon_that_templates_and_tags_name_exists() -> None:
    """A missing symbol draws nothing, and nobody would notice."""
    named = {badge.icon for badge in STATUS_BADGES.values()} | set(CALLOUT_ICONS.values())
    named |= {icon for _, icon in GRANT_TYPES.values()}
    for page in (ROOT / "templates").rglob("*.html"):
        text = page.read_text()
        named |= set(re.findall(r'{%\s*icon "([^"]+)"', text))
        named |= set(re.findall(r'icon_name="([^"]+)"', text))
        named |= set(re.findall(r'nav_item "[^"]+" "[^"]+" "([^"]+)"', text))
    assert named <= set(ICONS)


def test_every_hue_of_a_monogram_has_its_class() -> None:
    """A provider's `color` is one of the palette's."""
    styles = (ROOT / "static/css/grantry.css").read_text()
    assert set(re.findall(r"\.g-hue-([a-z]+)", styles)) == set(HUES)


def test_no_template_carries_an_inline_style_or_script() -> None:
    """The CSP would refuse it without a word to the reader."""
    for page in (ROOT / "templates").rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|hx-on|javascript:", text), page
        for opening in re.findall(r"<script[^>]*>", text):
            assert "src=" in opening or 'type="application/json"' in opening, page


# What the first page of a person asks for, besides its own HTML.
FIRST_LOAD = (
    "css/grantry.css",
    "vendor/tabler-core/tabler.min.css",
    "vendor/simple-icons/brands.css",
    "vendor/tabler-icons/sprite.svg",
    "vendor/simple-icons/sprite.svg",
    "vendor/inter/inter-latin.woff2",
    "vendor/jetbrains-mono/jetbrains-mono-latin.woff2",
    "vendor/htmx/htmx.min.js",
    *(f"js/{path.name}" for path in (ROOT / "static/js").glob("*.js")),
)


def test_static_files_collect_with_hashed_names_and_stay_light(settings: Any, tmp_path: Path) -> None:
    """Manifest storage fails on a reference to a file that is not there; 300 KB is the limit of a first load."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    hashed = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    weight = 0
    for name in FIRST_LOAD:
        path = tmp_path / hashed[name]
        packed = path.with_name(path.name + ".gz")
        weight += (packed if packed.exists() else path).stat().st_size
    assert weight < 280_000  # leaves 20 KB for the page
    assert hashed["vendor/inter/inter-latin.woff2"] in (tmp_path / hashed["css/grantry.css"]).read_text().replace(
        "../", ""
    )
