#!/usr/bin/env python3
"""Puts the C library's sources into the sdist, where a checkout has a link to the top of the tree.

Called by `meson dist`. What is committed goes in, as it does for the package's own files.
"""

import io
import os
import pathlib
import subprocess
import tarfile

PARTS = ["lib", "include", "meson.build", "meson_options.txt", "LICENSE"]


def main() -> None:
    source = pathlib.Path(os.environ["MESON_SOURCE_ROOT"])
    dist = pathlib.Path(os.environ["MESON_DIST_ROOT"])
    target = dist / "subprojects" / "samba"
    top = source / "subprojects" / "samba"
    archive = subprocess.run(
        ["git", "-C", str(top), "archive", "--format=tar", "HEAD", "--", *PARTS],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    if target.is_symlink():
        target.unlink()
    target.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target)


main()
