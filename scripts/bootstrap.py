"""Make the virtual environment: ``python3 scripts/bootstrap.py [.venv]``. Standard library only.

uv installs, because it takes a third of pip's time; pip takes over where uv cannot reach an index that only
pip's own configuration names. Both follow constraints.txt. Running it again repairs or updates.
"""

import os
import shutil
import subprocess
import sys
import time

OLDEST, NEWEST = (3, 11), (3, 14)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def say(message):
    print("bootstrap: " + message, flush=True)


def run(*command):
    """True if the command succeeds; its output passes through."""
    say("$ " + " ".join(command))
    return subprocess.call(command, cwd=ROOT) == 0


def version_of(python):
    """(major, minor) of an interpreter that can make virtual environments, else None."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def interpreter():
    """The running Python if it will do, else the first of python3.11 ... python3.14 on PATH that does."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    for python in [sys.executable, *filter(None, map(shutil.which, names))]:
        version = version_of(python)
        if version and OLDEST <= version <= NEWEST:
            return python
    sys.exit(
        "bootstrap: needs Python 3.11 to 3.14 with the venv module (Debian, Ubuntu: apt install python3-venv); "
        f"this is {sys.version.split()[0]} and none of {', '.join(names)} on PATH will do"
    )


def main():
    start = time.time()
    venv = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, ".venv"))
    python = os.path.join(venv, "bin", "python")
    version = version_of(python)
    if not (version and OLDEST <= version <= NEWEST) and not run(interpreter(), "-m", "venv", "--clear", venv):
        sys.exit("bootstrap: could not make the virtual environment " + venv)
    wanted = ("-c", "constraints.txt", "-e", ".[dev]")
    say("installing: 6 GB on disk, most of it the CUDA build of torch; minutes on a slow network")
    by_uv = run(python, "-m", "pip", "install", "-q", "uv") and run(
        python, "-m", "uv", "pip", "install", "-p", python, *wanted
    )
    if not by_uv:
        say("uv did not manage; trying pip")
        if not run(python, "-m", "pip", "install", *wanted):
            sys.exit("bootstrap: neither uv nor pip could install the packages; the reason stands above")
    if not run(python, "-m", "diffmix", "doctor"):
        sys.exit("bootstrap: a package is installed but cannot be imported; its name and the reason stand above")
    say(f"ready: {venv} ({time.time() - start:.0f} s)")


if __name__ == "__main__":
    main()
