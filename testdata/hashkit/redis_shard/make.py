#!/usr/bin/env python3
"""Asks redis-shard 0.3.7 which node owns each key.

usage: make.py > placements.tsv

Needs the Python packages redis-shard 0.3.7 and redis where Python finds them. No server is spoken to.
"""

import hashlib

from redis_shard.shard import RedisShardAPI

TEXTS = ["", "a", "foo", "user:1000", "123456789", "x{tag}1", "{a}b}", "p{a}{b}", "k{}", "{a{b}c}", "caf\u00e9", "w32979"]
TEXTS += ["x\n{tag}", "{tag}\nx", "{tag\n}", "{a\n}{b}", "{a}\n{b}", "tag", "{}", "{", "}", "}{", "}{a", "a}{b}c{d", "{{a}", "{a}}"]
TEXTS += ["{tag}\r\nx", "x\r{tag}", "x\u0085{tag}", "\u00ff", "{\u00e9}x", "\u00e9{tag}", "L" * 300, "\x00", "{\x00}a"]
TEXTS += ["\u4f60\u597d", "\u0100", "\u4f60{tag}", "{\u4f60}tag", "\u4f60{}", "x\u2028{tag}", "\U0001f600"]
BYTES = [b"\xff\xfe\xfd", b"x\x80{tag}", b"{\xff}", b"caf\xe9"]


def api(method):
    servers = [{"name": f"node{i}", "host": "127.0.0.1", "port": 1, "db": 0} for i in range(1, 5)]
    return RedisShardAPI(servers, hash_method=method)


def owner(shards, key):
    try:
        return shards.get_server_name(key)
    except UnicodeEncodeError:
        return "beyond Latin-1"


def main():
    print("# tags", "hash", "key as sent, in hex", "node", sep="\t")
    for method in ("crc32", "md5", "sha1"):
        shards = api(method)
        wire = [text.encode() for text in TEXTS]
        for text, sent in zip(TEXTS, wire):
            print("text", method, sent.hex(), owner(shards, text), sep="\t")
        for sent in BYTES:
            print("text", method, sent.hex(), "not UTF-8", sep="\t")
        for sent in wire + BYTES:
            print("bytes", method, sent.hex(), owner(shards, sent), sep="\t")
        for sent in wire + BYTES:
            # Python 2 matched and hashed the bytes themselves: what a text of these Latin-1 characters does.
            print("python2", method, sent.hex(), owner(shards, sent.decode("latin-1")), sep="\t")
        bulk = "".join(owner(shards, f"key:{i}")[-1] for i in range(100_000))
        print(f"# key:0 to key:99999 under {method}:", hashlib.sha256(bulk.encode()).hexdigest()[:16])


if __name__ == "__main__":
    main()
