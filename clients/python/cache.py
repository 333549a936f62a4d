#!/usr/bin/env python3
"""redis-py's client-side cache: `cache.py HOST PORT`. What it keeps is dropped when somebody else writes the key."""

import os
import sys

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from expect import expect, wait_until

# The library asks for 7.4; what it uses, 6.0 has.
CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"

KEYS = [f"{{redis-py-cache-{os.getpid()}-{number}}}" for number in range(8)]


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    caching = redis.Redis(host, port, protocol=3, cache_config=CacheConfig(), decode_responses=True)
    with caching as reader, redis.Redis(host, port, decode_responses=True) as writer:
        for round in range(20):
            for key in KEYS:
                writer.set(key, round)
            for key in KEYS:
                # Reading from the cache looks for invalidations that have come; they need not have.
                wait_until(f"{key} in round {round}", lambda: reader.get(key) == str(round))
            expect("kept", len([key for key in KEYS if is_kept(reader, key)]), len(KEYS))
        expect("of all shards", reader.mget(KEYS), ["19"] * len(KEYS))
        writer.set(KEYS[3], "new")
        wait_until("a part of it is new", lambda: reader.mget(KEYS)[3] == "new")
        reader.set(KEYS[0], "own")
        wait_until("its own write is heard of", lambda: reader.get(KEYS[0]) == "own")
        with reader.pipeline() as pipe:
            expect("a transaction", pipe.get(KEYS[0]).set(KEYS[0], "again").execute(), ["own", True])
        wait_until("what a transaction wrote is heard of", lambda: reader.get(KEYS[0]) == "again")
        writer.delete(*KEYS)
        wait_until("what is deleted is gone", lambda: reader.get(KEYS[5]) is None)
    print(f"redis-py {redis.__version__}: its cache as on Redis")


def is_kept(client, key):
    return any(key in entry.redis_keys for entry in client.get_cache().collection)


if __name__ == "__main__":
    main()
