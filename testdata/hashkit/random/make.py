#!/usr/bin/env python3
"""Prints the first numbers of glibc's random() for seeds at the edges.

usage: make.py > random.tsv
"""

import ctypes

SEEDS = (0, 1, 2, 7, 42, 1700000000, 2**31 - 2, 2**31 - 1, 2**31, 2**31 + 1, 0xDEADBEEF, 2**32 - 1)

libc = ctypes.CDLL("libc.so.6")
libc.random.restype = ctypes.c_long
print("# seed", "the first 40 numbers", sep="\t")
for seed in SEEDS:
    libc.srandom(ctypes.c_uint(seed))
    print(seed, *(libc.random() for _ in range(40)), sep="\t")
