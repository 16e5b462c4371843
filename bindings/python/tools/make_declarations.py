#!/usr/bin/env python3
"""Writes libsamba/_declarations.py from include/samba.h: what cffi reads, and the constants.

    make_declarations.py [--check] [HEADER]

With --check nothing is written, and the exit status is 1 if the file is stale. Plain text work on
a header that keeps to few forms; what it does not understand is an error.
"""

import pathlib
import re
import sys

here = pathlib.Path(__file__).resolve().parent
TARGET = here.parent / "libsamba" / "_declarations.py"
HEADER = here.parents[2] / "include" / "samba.h"
LIMITS = {"UINT64_MAX": 2**64 - 1, "UINT32_MAX": 2**32 - 1, "SIZE_MAX": 2**64 - 1}


def value_of(name: str, text: str) -> int:
    text = text.strip().strip("()")
    if text in LIMITS:
        return LIMITS[text]
    try:
        return int(text, 0)
    except ValueError:
        raise SystemExit(f"{name} is {text!r}: not a number") from None


def split(header: str) -> "tuple[str, list[tuple[str, int]]]":
    """Declarations without comments and preprocessor lines; the SAMBA_ constants."""
    text = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    text = text.replace("\\\n", " ")
    lines, constants, skip = [], [], 0
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0].startswith("#"):
            directive = (words[0][1:] or words[1]).strip()
            if directive == "ifdef" and "__cplusplus" in line:
                skip += 1
            elif directive == "endif" and skip:
                skip -= 1
            elif directive == "define" and words[1] not in ("SAMBA_H", "SAMBA_API"):
                constants.append((words[1], value_of(words[1], " ".join(words[2:]))))
        elif not skip:
            lines.append(line.replace("SAMBA_API ", "").rstrip())
    return "\n".join(lines), constants


def render(header: str) -> str:
    declarations, constants = split(header)
    if "#" in declarations or '"' in declarations:
        raise SystemExit("something of the preprocessor is left over")
    out = ['"""Made from include/samba.h by tools/make_declarations.py: do not edit."""', ""]
    out += ['CDEF = """', declarations, '"""', ""]
    out += [f"{name} = {value}" for name, value in constants]
    return "\n".join(out) + "\n"


def main() -> int:
    arguments = sys.argv[1:]
    check = "--check" in arguments
    rest = [a for a in arguments if a != "--check"]
    text = render(pathlib.Path(rest[0] if rest else HEADER).read_text())
    if not check:
        TARGET.write_text(text)
        return 0
    if TARGET.read_text() == text:
        return 0
    print(f"{TARGET} is stale: run {pathlib.Path(__file__).name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
