"""What holds for every command of ``diffmix``."""

import os
import subprocess
import sys


def test_a_reader_that_has_had_enough_gets_no_traceback() -> None:
    code = "from diffmix import cli; cli.doctor.PACKAGES = (); cli.main(['doctor'])"
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (1, b"")
