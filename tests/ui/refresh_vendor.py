"""Refreshes `static/vendor/` from npm packages, at exact versions, only the files in use.

    python -m tests.ui.refresh_vendor            # fetches with `npm pack`; needs npm, only here
    python -m tests.ui.refresh_vendor <folder>   # uses `<name>-<version>.tgz` files found there

Users of Grantry never run this: its output is committed. To use another icon, add its name to
`ICON_NAMES`; another brand mark, to `workspaces/brand_marks.py`; then run it. Each shipped file is
listed in `manifest.json` with the integrity npm announces for its package and the sha256 of the
file as shipped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workspaces.brand_marks import BRAND_MARKS

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"

# Tabler outline icons, by the name the `icon` template tag takes.
ICON_NAMES = """
activity alert-circle alert-triangle api arrow-back-up arrow-left arrow-right ban bell bolt book
building bulb calendar category certificate check chevron-down chevron-left chevron-right chevron-up
circle-check circle-dashed circle-dot circle-minus circle-plus circle-x clock clock-x cloud code copy
crown database device-desktop device-floppy device-mobile dots download external-link eye eye-off
file-export file-text filter fingerprint git-branch help-circle history home hourglass id-badge-2
info-circle key key-off layout-grid-add link list-check loader-2 lock lock-open login logout mail
menu-2 minus moon pencil player-play plug plug-connected plug-connected-x plus refresh refresh-alert
rocket search selector send server-2 settings settings-check settings-cog settings-exclamation
shield-check shield-lock shield-x sun tag terminal-2 test-pipe tool trash unlink user user-check
user-off user-plus user-shield users versions webhook world world-search x
"""
ICONS = ICON_NAMES.split()


@dataclass(frozen=True)
class Package:
    """An npm package at one version: its files in use (path inside → name here) and its licence."""

    name: str
    version: str
    licence: str
    folder: str
    files: dict[str, str]
    licence_file: str | None = "LICENSE"

    @property
    def archive(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = (
    Package(
        "@tabler/core",
        "1.6.1",
        "MIT",
        "tabler-core",
        {"dist/css/tabler.min.css": "tabler.min.css"},
        # The archive carries no licence text; the one of @tabler/icons (same authors, same terms)
        # is beside it.
        licence_file=None,
    ),
    Package("htmx.org", "2.0.10", "0BSD", "htmx", {"dist/htmx.min.js": "htmx.min.js"}),
    Package(
        "@fontsource-variable/inter",
        "5.3.0",
        "OFL-1.1",
        "inter",
        {"files/inter-latin-wght-normal.woff2": "inter-latin.woff2"},
    ),
    Package(
        "@fontsource-variable/jetbrains-mono",
        "5.3.0",
        "OFL-1.1",
        "jetbrains-mono",
        {"files/jetbrains-mono-latin-wght-normal.woff2": "jetbrains-mono-latin.woff2"},
    ),
    Package("@tabler/icons", "3.51.0", "MIT", "tabler-icons", {}),
    Package("simple-icons", "16.37.0", "CC0-1.0", "simple-icons", {}, licence_file="LICENSE.md"),
)


def sha256_of(content: bytes) -> str:
    """The SHA-256 of the content, in hex."""
    return hashlib.sha256(content).hexdigest()


def without_source_map(content: bytes) -> bytes:
    """The stylesheet or script without its pointer to a source map that is not shipped."""
    return re.sub(rb"\n?(/\*# sourceMappingURL=[^*]*\*/|//# sourceMappingURL=\S*)\s*", b"", content)


def read_package(archive: Path) -> dict[str, bytes]:
    """Every file of an npm archive, by its path inside the package."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {
            member.name.split("/", 1)[1]: handle.read()
            for member in members
            if (handle := tar.extractfile(member)) is not None
        }


def icon_symbol(name: str, svg: str) -> str:
    """A Tabler icon as a `<symbol>`; stroke and width come from the page's style sheet."""
    shapes = re.findall(r"<(?:path|circle|rect|line|polyline|ellipse)\b[^>]*/>", svg)
    drawn = "".join(shape for shape in shapes if 'stroke="none"' not in shape)
    drawn = re.sub(r"\s+", " ", drawn)
    return f'<symbol id="{name}" viewBox="0 0 24 24">{drawn}</symbol>'


def brand_symbol(name: str, svg: str) -> str:
    """A brand mark as a `<symbol>` that takes the colour of its surroundings."""
    path = re.search(r'<path d="([^"]+)"', svg)
    if path is None:
        raise ValueError(f"simple-icons: {name} has no path")
    return f'<symbol id="{name}" viewBox="0 0 24 24"><path d="{path[1]}"/></symbol>'


def sprite(symbols: Iterable[str]) -> bytes:
    """One SVG document with every symbol, for `<use href="sprite.svg#name">`."""
    body = "\n".join(symbols)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{body}\n</svg>\n'.encode()


def brand_colours(data: bytes) -> bytes:
    """A style sheet with the colour of each brand as its owner publishes it.

    The dark theme mixes in white, or a black mark would vanish on a dark ground.
    """
    known = {entry["slug"]: entry["hex"] for entry in with_slugs(json.loads(data))}
    rules = []
    for name in BRAND_MARKS:
        colour = known[name].lower()
        red, green, blue = (int(colour[i : i + 2], 16) for i in (0, 2, 4))
        dim = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 70
        dark = "#f3f5f8" if dim else f"#{colour}"
        rules.append(f".brand-{name}{{color:light-dark(#{colour},{dark})}}")
    return ("\n".join(rules) + "\n").encode()


def with_slugs(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    """Simple Icons' entries, each with the slug its file is named after."""
    replacements = {"+": "plus", ".": "dot", "&": "and"}
    found = []
    for entry in entries:
        title = entry["title"].lower()
        guess = "".join(replacements.get(letter, letter) for letter in title)
        found.append({**entry, "slug": entry.get("slug", re.sub(r"[^a-z0-9]", "", guess))})
    return found


def built_files(package: Package, content: dict[str, bytes]) -> dict[str, tuple[bytes, str | None]]:
    """What is shipped of a package: name → (content, what was changed or None)."""
    shipped: dict[str, tuple[bytes, str | None]] = {}
    for inside, name in package.files.items():
        stripped = without_source_map(content[inside])
        changed = "sourceMappingURL line removed" if stripped != content[inside] else None
        shipped[name] = (stripped, changed)
    if package.folder == "tabler-icons":
        symbols = [icon_symbol(name, content[f"icons/outline/{name}.svg"].decode()) for name in ICONS]
        shipped["sprite.svg"] = (sprite(symbols), f"{len(ICONS)} outline icons in one file")
    if package.folder == "simple-icons":
        marks = [brand_symbol(name, content[f"icons/{name}.svg"].decode()) for name in BRAND_MARKS]
        shipped["sprite.svg"] = (sprite(marks), f"{len(BRAND_MARKS)} marks in one file")
        shipped["brands.css"] = (
            brand_colours(content["data/simple-icons.json"]),
            "colours of the marks in use, as CSS classes",
        )
    return shipped


def fetch(package: Package, folder: Path) -> Path:
    """The package's archive in the folder, fetched with `npm pack` unless it is there."""
    archive = folder / package.archive
    if not archive.exists():
        subprocess.run(
            ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
            cwd=folder,
            check=True,
        )
    return archive


def refresh(folder: Path) -> None:
    """Writes every shipped file and the manifest from the archives in the folder."""
    files = []
    for package in PACKAGES:
        archive = fetch(package, folder)
        digest = hashlib.sha512(archive.read_bytes()).digest()
        content = read_package(archive)
        shipped = built_files(package, content)
        if package.licence_file:
            shipped["LICENSE.txt"] = (content[package.licence_file], None)
        target = VENDOR / package.folder
        target.mkdir(parents=True, exist_ok=True)
        for name, (data, changed) in shipped.items():
            (target / name).write_bytes(data)
            files.append(
                {
                    "package": package.name,
                    "version": package.version,
                    "integrity": "sha512-" + base64.b64encode(digest).decode(),
                    "licence": package.licence,
                    "file": f"{package.folder}/{name}",
                    "sha256": sha256_of(data),
                    "modified": changed,
                }
            )
    manifest = json.dumps({"files": files}, indent=2) + "\n"
    (VENDOR / "manifest.json").write_text(manifest)


def main() -> None:
    if len(sys.argv) > 1:
        refresh(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        refresh(Path(folder))


if __name__ == "__main__":
    main()
