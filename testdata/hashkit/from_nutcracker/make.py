#!/usr/bin/env python3
"""Asks a real nutcracker which server each key reaches.

usage: make.py [--keys N] [--nutcracker PATH] > placements.json

Starts fake Redis servers that answer every request with their own index, a nutcracker over them for
each server list (a pool for each hash and distribution), sends GET for every key through every pool,
and prints what came back. Needs nothing but Python 3, and glibc for the seed of `random`.
"""

import argparse
import asyncio
import ctypes
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

HASHES = ("one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur jenkins").split()
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def server(name, weight=1, live=True):
    return {"name": name, "weight": weight, "live": live}


LISTS = {
    "lengths of names": ([server(n) for n in ("zeta", "b", "alpha", "c")], None),
    "weights 1 and 80": ([server("light", 1), server("heavy", 80)], None),
    "weights 3, 7, 1": ([server("one", 3), server("twotwo", 7), server("x", 1)], None),
    "names by address": (
        [server(n) for n in ("10.0.0.1", "10.0.0.2:6379", "10.0.0.10:6379", "/tmp/redis.sock:", "10.0.0.9")],
        None,
    ),
    "25 servers": ([server(f"10.1.0.{i}:6379") for i in range(25)], None),
    "50 servers": ([server(f"shard-{i}") for i in range(50)], None),
    "names beyond 272 bytes": (
        [server("n" * 300), server("n" * 299 + "m"), server("n" * 270), server("n" * 271), server("n" * 268), server("s")],
        None,
    ),
    "tag {}": ([server(n, w) for n, w in (("zeta", 1), ("b", 2), ("alpha", 1), ("c", 1))], "{}"),
    "tag $$": ([server(n, w) for n, w in (("zeta", 1), ("b", 2), ("alpha", 1), ("c", 1))], "$$"),
    "one ejected of unequal weight": (
        [server("node1", 3), server("node22", 7, live=False), server("n3", 1), server("node4", 5)],
        None,
    ),
    "one ejected of equal weight": ([server(f"10.2.0.{i}:6379", 1, live=i != 3) for i in range(6)], None),
}


def sample_keys(count):
    keys = [b"", b"a", b"foo", b"123456789", b"user:1000:profile", "caf\u00e9".encode(), "\u4f60\u597d".encode()]
    keys += [b"{a}b", b"x{}", b"{tag}1", b"{tag}2", b"a{tag}", b"tag", b"{}{tag}", b"{}tag", b"{tag", b"tag}"]
    keys += [b"}{a}b}", b"{{a}}", b"$a$b", b"$$a$", b"x$\xff$y", b"{\xe4\xbd}", b"a b", b"a\r\nb", b"\0", b"\0\0\0\0"]
    keys += [b"\xff", b"\x80", b"\x7f", b"\xff\xfe\xfd", b"abcd\x80\x81\x82", b"abcd\xff\xff"]
    keys += [b"L" * 300, b"\xe9" * 300, b"{tag}" + b"L" * 300, bytes(range(256))]
    rng = random.Random(2021)
    for length in range(1, 42):
        keys.append(rng.randbytes(length))
    while len(keys) < count:
        keys.append(rng.choice((b"key:%d", b"user:%d:feed", b"q%d", b"{%d}:x", b"\xc3\xa9%d", b"$%d$")) % len(keys))
    return keys[:count]


async def fake_server(index):
    """A server on a free port that answers every request with `index`."""

    async def serve(reader, writer):
        try:
            while head := await reader.readline():
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    await reader.readexactly(length + 2)
                answer = b"%d" % index
                writer.write(b"$%d\r\n%s\r\n" % (len(answer), answer))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # nutcracker hung up, or we are done
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    return listening, listening.sockets[0].getsockname()[1]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Nutcracker:
    """A nutcracker with pools (hash, distribution), all over the same servers."""

    def __init__(self, program, servers, ports, tag, pools):
        self.program, self.folder = program, tempfile.TemporaryDirectory()
        *listen, self.stats = free_ports(len(pools) + 1)
        self.listen = dict(zip(pools, listen))
        self.conf = os.path.join(self.folder.name, "nutcracker.yml")
        with open(self.conf, "w") as out:
            for (hash_name, distribution), port in self.listen.items():
                out.write(f"{distribution}_{hash_name}:\n")
                out.write(f"  listen: 127.0.0.1:{port}\n  redis: true\n")
                out.write(f"  hash: {hash_name}\n  distribution: {distribution}\n")
                if tag:
                    out.write(f'  hash_tag: "{tag}"\n')
                if not all(s["live"] for s in servers):
                    out.write("  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 3600000\n")
                out.write("  servers:\n")
                for s, upstream in zip(servers, ports):
                    out.write(f"   - \"127.0.0.1:{upstream}:{s['weight']} {s['name']}\"\n")

    async def __aenter__(self):
        command = [self.program, "-c", self.conf, "-o", os.path.join(self.folder.name, "log")]
        self.process = subprocess.Popen(
            command + ["-s", str(self.stats), "-a", "127.0.0.1"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for port in self.listen.values():
            await connect(port, self.process)
        return self

    async def __aexit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


async def connect(port, process):
    deadline = time.monotonic() + 10
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("nutcracker did not start")
            await asyncio.sleep(0.02)


async def ask(port, process, keys):
    """The index each key reached, or None where nutcracker answered with an error."""
    reader, writer = await connect(port, process)
    reached = []
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        writer.write(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(k), k) for k in part))
        for _ in part:
            line = await asyncio.wait_for(reader.readline(), 20)
            if line[:1] == b"$":
                reached.append(int(await reader.readline()))
            elif line[:1] == b"-":
                reached.append(None)
            else:
                sys.exit(f"nutcracker answered {line!r}")
    writer.close()
    return reached


async def placements(program, keys):
    fakes = [await fake_server(index) for index in range(50)]
    lists = []
    for title, (servers, tag) in LISTS.items():
        dead = free_ports(1)[0]
        ports = [fakes[i][1] if s["live"] else dead for i, s in enumerate(servers)]
        found = {}
        for distribution in ("ketama", "modula"):
            pools = [(hash_name, distribution) for hash_name in HASHES]
            async with Nutcracker(program, servers, ports, tag, pools) as nutcracker:
                for pool, port in nutcracker.listen.items():
                    for _ in range(4):
                        reached = await ask(port, nutcracker.process, keys)
                        if None not in reached:
                            break
                    else:
                        sys.exit(f"{title} {pool}: errors remain")
                    found.setdefault(distribution, {})[pool[0]] = "".join(DIGITS[i] for i in reached)
        lists.append({"title": title, "hash_tag": tag, "servers": servers, "reached": found})
    servers = [server(f"r{i}") for i in range(7)]
    ports = [port for _, port in fakes[:7]]
    drawn, before = None, int(time.time())
    async with Nutcracker(program, servers, ports, None, [("fnv1a_64", "random")]) as nutcracker:
        after = int(time.time())
        for port in nutcracker.listen.values():
            drawn = await ask(port, nutcracker.process, keys)
    return lists, {"seed": seed_of(drawn, len(servers), range(before, after + 1)), "servers": len(servers),
                   "reached": "".join(DIGITS[i] for i in drawn)}


def seed_of(drawn, servers, candidates):
    """The second in which nutcracker seeded itself, found with glibc's own generator."""
    libc = ctypes.CDLL("libc.so.6")
    libc.random.restype = ctypes.c_long
    for seed in candidates:
        libc.srandom(ctypes.c_uint(seed))
        if all(libc.random() % servers == reached for reached in drawn):
            return seed
    sys.exit("no seed gives the order in which `random` chose")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=160)
    parser.add_argument("--nutcracker", default="nutcracker")
    arguments = parser.parse_args()
    keys = sample_keys(arguments.keys)
    lists, drawn = asyncio.run(placements(arguments.nutcracker, keys))
    out = {"keys": [k.hex() for k in keys], "lists": lists, "random": drawn}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
