#!/usr/bin/env python3
"""Compiles Twemproxy's own hash functions, with signed and with unsigned char, and asks them.

usage: make.py FOLDER > hashes.tsv      (FOLDER: src/hashkit of a checkout of Twemproxy; needs gcc)
"""

import ctypes
import os
import random
import subprocess
import sys
import tempfile

HASHES = "one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur jenkins".split()
FILES = "crc16 crc32 fnv hsieh jenkins md5 murmur one_at_a_time".split()
# What the files need of Twemproxy's headers.
NC_CORE = "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"


def keys():
    seeded = random.Random(7)
    yield from (b"a", b"foo", b"123456789", b"user:1000:profile", "\u4f60\u597d".encode(), b"\xff\xfe\xfd")
    yield from (b"\0", b"\x7f", b"\x80", b"\xff")
    yield from (seeded.randbytes(length) for length in range(2, 40))
    yield from (bytes(seeded.randrange(0x20, 0x7F) for _ in range(length)) for length in (12, 13, 24, 25, 64, 300))
    yield from (b"\xe9" * 300, bytes(range(256)))


def compiled(source, sign, folder):
    library = os.path.join(folder, sign + ".so")
    for name, text in (("nc_core.h", NC_CORE), ("nc_hashkit.h", "")):
        with open(os.path.join(folder, name), "w") as out:
            out.write(text)
    # Copies, since a quoted include looks beside the file that has it first.
    for name in FILES:
        with open(os.path.join(source, f"nc_{name}.c")) as text, open(os.path.join(folder, f"nc_{name}.c"), "w") as out:
            out.write(text.read())
    files = [os.path.join(folder, f"nc_{name}.c") for name in FILES]
    subprocess.run(["gcc", "-w", "-O1", f"-f{sign}-char", "-shared", "-fPIC", f"-I{folder}", "-o", library, *files], check=True)
    return ctypes.CDLL(library)


def value(function, key):
    function.restype, function.argtypes = ctypes.c_uint32, (ctypes.c_char_p, ctypes.c_size_t)
    return f"{function(key, len(key)):08x}"


def main():
    print("# char", "key in hex", *HASHES, sep="\t")
    with tempfile.TemporaryDirectory() as folder:
        for sign in ("signed", "unsigned"):
            library = compiled(sys.argv[1], sign, folder)
            for key in keys():
                print(sign, key.hex(), *(value(library[f"hash_{name}"], key) for name in HASHES), sep="\t")


if __name__ == "__main__":
    main()
