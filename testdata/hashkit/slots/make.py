#!/usr/bin/env python3
"""Asks a running Redis for the slots of keys.

usage: redis-server --cluster-enabled yes --port PORT, then: make.py PORT > slots.tsv
"""

import random
import socket
import sys

KEYS = [b"", b"a", b"foo", b"123456789", b"user:1000:profile", "caf\u00e9".encode(), "\u4f60\u597d".encode()]
KEYS += [b"{user1000}.following", b"foo{}{bar}", b"foo{{bar}}zap", b"foo{bar}{zap}", b"{}", b"{", b"}", b"}{a}", b"{a"]
KEYS += [b"a}b{c}d", b"x\n{tag}", b"tag", b"\xff\x80", b"{\xff}x", b"L" * 300, b"\0", b"{}a{b}"]
seeded = random.Random(3)
KEYS += [seeded.randbytes(length) for length in range(2, 20)]

redis = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
replies = redis.makefile("rb")
print("# key in hex", "slot", sep="\t")
for key in KEYS:
    redis.sendall(b"*3\r\n$7\r\nCLUSTER\r\n$7\r\nKEYSLOT\r\n$%d\r\n%s\r\n" % (len(key), key))
    print(key.hex(), int(replies.readline()[1:]), sep="\t")
