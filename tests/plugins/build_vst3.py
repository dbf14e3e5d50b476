"""Build the two VST3 plugins that `test_vst3.py` plays: ``python tests/plugins/build_vst3.py [TARBALL]``.

They are 3 Band EQ and MVerb of dpf-plugins 1.6 (GPL and LGPL; nothing of them is part of diffmix). Debian carries the
source, which apt-get fetches unless the path of its ``dpf-plugins_1.6+ds.orig.tar.xz`` is given; g++ and make build
them without a screen in seconds. They land in `FOLDER`. Tests never run this: they skip where it has not been run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(os.environ.get("DIFFMIX_TEST_VST3") or Path.home() / ".cache" / "diffmix" / "vst3")
NAMES = ("3BandEQ", "MVerb")
TARBALL = "dpf-plugins_1.6+ds.orig.tar.xz"
SHA256 = "15492ec9693f09e676e6a18e7e35f8861c6340e70ecb53e1404d0b803bf1f98a"
WITHOUT = ("OPENGL", "X11", "CAIRO", "DGL", "JACK", "PULSEAUDIO", "ALSA", "RTAUDIO", "DBUS")


def fetch(folder: Path) -> Path:
    """The tarball, by apt-get: with this machine's Debian sources, asked for source packages."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    sources = (folder / "sources").resolve()
    sources.mkdir()
    found = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt/sources.list.d").glob("*.list")]
    for file in (*found, Path("/etc/apt/sources.list")):
        if file.is_file():
            text = file.read_text(encoding="utf-8").replace("Types: deb\n", "Types: deb-src\n")
            lines = ("deb-src" + line[3:] if line.startswith("deb ") else line for line in text.splitlines())
            (sources / file.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = [f"Dir::Etc::sourceparts={sources}", "Dir::Etc::sourcelist=/dev/null", f"Dir::State::lists={lists}"]
    apt = ["apt-get", "-q", *(part for option in options for part in ("-o", option))]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "source", "--download-only", "--tar-only", "dpf-plugins"], check=True, cwd=folder)
    return folder / TARBALL


def build(tarball: Path, folder: Path) -> None:
    """Build the plugins of the tarball in ``folder`` and put them into `FOLDER`."""
    if (found := hashlib.sha256(tarball.read_bytes()).hexdigest()) != SHA256:
        sys.exit(f"{tarball}: its SHA-256 is {found}, expected {SHA256}")
    subprocess.run(["tar", "--extract", "--file", tarball.resolve(), "--strip-components=1"], check=True, cwd=folder)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        headless = ["UI_TYPE=none", *(f"HAVE_{part}=false" for part in WITHOUT)]
        subprocess.run(["make", "-C", folder / "plugins" / name, "vst3", *headless], check=True)
        bundle = f"{name}.vst3"
        shutil.copytree(folder / "bin" / bundle, FOLDER / bundle, dirs_exist_ok=True)
        print(FOLDER / bundle)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(sys.argv[1]) if len(sys.argv) > 1 else fetch(Path(temporary)), Path(temporary))
