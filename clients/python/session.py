#!/usr/bin/env python3
"""redis-py as an application uses it, with default settings: `session.py HOST PORT`.

Runs under redis-py 5 (RESP2 unless told) and the newest (RESP3 unless told); what the library hands out
differently is written as a pair. Ends with status 1 at the first difference from what Redis itself gives.
"""

import asyncio
import os
import socket
import sys
import threading

import redis
import redis.asyncio

from expect import expect, fail, wait_until

RESP3_BY_DEFAULT = int(redis.__version__.split(".")[0]) >= 8
PREFIX = f"redis-py-{os.getpid()}:"
MANY = 64  # keys that are sure to lie on several shards


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    with redis.Redis(host, port) as client:
        for step in STEPS:
            step(client)
        typed_replies(client, RESP3_BY_DEFAULT)
    # The protocol that this version does not choose by itself.
    with redis.Redis(host, port, protocol=2 if RESP3_BY_DEFAULT else 3) as other:
        typed_replies(other, not RESP3_BY_DEFAULT)
    asyncio.run(asynchronous(host, port))
    print(f"redis-py {redis.__version__}: all as Redis does it")


# ---- the steps, in the order in which they run ----


def ping(client):
    expect("PING", client.ping(), True)
    expect("ECHO", client.echo("back"), b"back")
    expect("INFO is a dictionary", bool(client.info()), True)


def strings_over_shards(client):
    keys = [f"{PREFIX}s{i}" for i in range(MANY)]
    for i, key in enumerate(keys):
        expect(f"SET {key}", client.set(key, i), True)
    for i, key in enumerate(keys):
        expect(f"GET {key}", client.get(key), str(i).encode())
    values = [str(i).encode() for i in range(MANY)]
    expect("MGET", client.mget(keys), values)
    # Duplicates and holes keep their places.
    holes = [keys[3], PREFIX + "none", keys[1], keys[3]]
    expect("MGET with holes", client.mget(holes), [b"3", None, b"1", b"3"])
    expect("MSET", client.mset({key: f"new {i}" for i, key in enumerate(keys)}), True)
    expect("MGET after MSET", client.mget(keys), [f"new {i}".encode() for i in range(MANY)])
    expect("EXISTS of many", client.exists(*keys, PREFIX + "none"), MANY)
    expect("TOUCH of many", client.touch(*keys), MANY)
    expect("DEL of half", client.delete(*keys[: MANY // 2], PREFIX + "none"), MANY // 2)
    expect("UNLINK of the rest", client.unlink(*keys), MANY // 2)
    expect("GET of a deleted key", client.get(keys[0]), None)


def single_strings(client):
    key = PREFIX + "string"
    expect("INCRBY", client.incrby(key, 40), 40)
    expect("INCR", client.incr(key), 41)
    expect("DECR", client.decr(key), 40)
    expect("INCRBYFLOAT", client.incrbyfloat(key, 0.5), 40.5)
    expect("SET NX", client.set(key, "x", nx=True), None)
    expect("SETNX", client.setnx(key, "x"), False)
    expect("SET GET", client.set(key, "Hello", get=True), b"40.5")
    expect("APPEND", client.append(key, " World"), 11)
    expect("STRLEN", client.strlen(key), 11)
    expect("GETRANGE", client.getrange(key, 0, 4), b"Hello")
    expect("SETRANGE", client.setrange(key, 6, "Redis"), 11)
    expect("GETDEL", client.getdel(key), b"Hello Redis")
    expect("SETBIT", client.setbit(key, 7, 1), 0)
    expect("GETBIT", client.getbit(key, 7), 1)
    expect("BITCOUNT", client.bitcount(key), 1)
    expect("TYPE", client.type(key), b"string")
    expect("EVAL", client.eval("return {KEYS[1], ARGV[1], 3}", 1, key, "a"), [key.encode(), b"a", 3])
    expect("DEL", client.delete(key), 1)


def binary_values(client):
    every_byte = bytes(range(256))
    values = {
        b"all bytes": every_byte,
        b"empty": b"",
        b"CRLF": b"\r\n$3\r\n*1\r\n",
        b"one MiB": every_byte * 4096,
    }
    for name, value in values.items():
        key = PREFIX.encode() + every_byte + name
        expect(f"SET of {name}", client.set(key, value), True)
        expect(f"GET of {name}", client.get(key) == value, True)
    keys = [PREFIX.encode() + every_byte + name for name in values]
    expect("MGET of binary values", client.mget(keys) == list(values.values()), True)
    expect("DEL of binary keys", client.delete(*keys), len(keys))


def hashes(client):
    key = PREFIX + "hash"
    expect("HSET", client.hset(key, mapping={"a": "1", "b": "2", "c": b"\x00\xff"}), 3)
    expect("HGET", client.hget(key, "a"), b"1")
    expect("HGET of nothing", client.hget(key, "z"), None)
    expect("HMGET", client.hmget(key, "a", "z", "c"), [b"1", None, b"\x00\xff"])
    expect("HGETALL", client.hgetall(key), {b"a": b"1", b"b": b"2", b"c": b"\x00\xff"})
    expect("HGETALL of nothing", client.hgetall(PREFIX + "none"), {})
    expect("HKEYS", client.hkeys(key), [b"a", b"b", b"c"])
    expect("HVALS", client.hvals(key), [b"1", b"2", b"\x00\xff"])
    expect("HINCRBY", client.hincrby(key, "a", 9), 10)
    expect("HINCRBYFLOAT", client.hincrbyfloat(key, "a", 0.25), 10.25)
    expect("HEXISTS", client.hexists(key, "b"), True)
    expect("HSETNX", client.hsetnx(key, "b", "x"), 0)
    expect("HSTRLEN", client.hstrlen(key, "c"), 2)
    expect("HDEL", client.hdel(key, "a", "b", "z"), 2)
    expect("HLEN", client.hlen(key), 1)
    expect("DEL", client.delete(key), 1)


def lists(client):
    key = PREFIX + "list"
    expect("RPUSH", client.rpush(key, "a", "b", "c"), 3)
    expect("LPUSH", client.lpush(key, "z"), 4)
    expect("LRANGE", client.lrange(key, 0, -1), [b"z", b"a", b"b", b"c"])
    expect("LRANGE of nothing", client.lrange(PREFIX + "none", 0, -1), [])
    expect("LINDEX", client.lindex(key, 1), b"a")
    expect("LINSERT", client.linsert(key, "BEFORE", "b", "ab"), 5)
    expect("LSET", client.lset(key, 0, "y"), True)
    expect("LPOS", client.lpos(key, "b"), 3)
    expect("LREM", client.lrem(key, 0, "ab"), 1)
    expect("LTRIM", client.ltrim(key, 0, 2), True)
    expect("LPOP", client.lpop(key), b"y")
    expect("RPOP of two", client.rpop(key, 2), [b"b", b"a"])
    expect("LPOP of nothing", client.lpop(key), None)
    expect("LLEN", client.llen(key), 0)


def sets(client):
    key = PREFIX + "set"
    expect("SADD", client.sadd(key, "a", "b", "c", "a"), 3)
    expect("SMEMBERS", set(client.smembers(key)), {b"a", b"b", b"c"})
    expect("SISMEMBER", client.sismember(key, "a"), 1)
    expect("SMISMEMBER", client.smismember(key, ["a", "z"]), [1, 0])
    expect("SREM", client.srem(key, "a", "z"), 1)
    expect("SCARD", client.scard(key), 2)
    expect("SPOP", client.spop(key) in (b"b", b"c"), True)
    expect("SRANDMEMBER", client.srandmember(key) in (b"b", b"c"), True)
    expect("DEL", client.delete(key), 1)


def sorted_sets(client):
    key = PREFIX + "zset"
    expect("ZADD", client.zadd(key, {"a": 1, "b": 2.5, "c": float("inf")}), 3)
    expect("ZADD INCR", client.zadd(key, {"a": 0.5}, incr=True), 1.5)
    expect("ZINCRBY", client.zincrby(key, 0.25, "b"), 2.75)
    expect("ZSCORE", client.zscore(key, "c"), float("inf"))
    expect("ZSCORE of nothing", client.zscore(key, "z"), None)
    expect("ZMSCORE", client.zmscore(key, ["a", "z"]), [1.5, None])
    expect("ZRANK", client.zrank(key, "b"), 1)
    expect("ZRANGE", client.zrange(key, 0, -1), [b"a", b"b", b"c"])
    expect("ZRANGEBYSCORE", client.zrangebyscore(key, "(1.5", "+inf"), [b"b", b"c"])
    expect("ZCOUNT", client.zcount(key, "-inf", 3), 2)
    expect("ZREM", client.zrem(key, "a"), 1)
    expect("ZCARD", client.zcard(key), 2)
    expect("DEL", client.delete(key), 1)


def expiry(client):
    key = PREFIX + "expiry"
    expect("SET EX", client.set(key, "v", ex=100), True)
    expect("TTL", 98 <= client.ttl(key) <= 100, True)
    expect("PERSIST", client.persist(key), True)
    expect("TTL after PERSIST", client.ttl(key), -1)
    expect("EXPIRE", client.expire(key, 50), True)
    expect("EXPIRE NX", client.expire(key, 60, nx=True), False)
    expect("PTTL", 48_000 <= client.pttl(key) <= 50_000, True)
    expect("EXPIRE of nothing", client.expire(PREFIX + "none", 50), False)
    expect("PEXPIRE", client.pexpire(key, 20), True)
    wait_until("the key expires", lambda: client.get(key) is None)
    expect("TTL of nothing", client.ttl(key), -2)


def pipelines(client):
    pipe = client.pipeline(transaction=False)
    for i in range(500):
        pipe.set(f"{PREFIX}p{i}", i)
        pipe.get(f"{PREFIX}p{i}")
    wanted = [reply for i in range(500) for reply in (True, str(i).encode())]
    expect("a pipeline of 1,000", pipe.execute(), wanted)

    # An error in the middle is that command's alone.
    pipe = client.pipeline(transaction=False)
    pipe.incr(f"{PREFIX}p1")
    pipe.lpush(f"{PREFIX}p2", "x")
    pipe.execute_command("NOSUCHCOMMAND", "a")
    pipe.mget(f"{PREFIX}p1", f"{PREFIX}p2")
    before, wrong_type, unknown, after = pipe.execute(raise_on_error=False)
    expect("before the errors", before, 2)
    expect("the WRONGTYPE", str(wrong_type)[:9], "WRONGTYPE")
    expect("the unknown command", str(unknown)[:31], "unknown command 'NOSUCHCOMMAND'")
    expect("after the errors", after, [b"2", b"2"])
    expect("DEL of 500", client.delete(*(f"{PREFIX}p{i}" for i in range(500))), 500)


def errors(client):
    key = PREFIX + "error"
    client.set(key, "not a list")
    before = local_port(client)
    expect_error(
        "LPUSH to a string",
        lambda: client.lpush(key, "x"),
        "WRONGTYPE Operation against a key holding the wrong kind of value",
    )
    expect_error(
        "INCR of a word", lambda: client.incr(key), "value is not an integer or out of range"
    )
    expect_error(
        "an unknown command",
        lambda: client.execute_command("NOSUCHCOMMAND", "a", "b"),
        "unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' 'b' ",
    )
    expect_error(
        "a wrong count",
        lambda: client.execute_command("GET"),
        "wrong number of arguments for 'get' command",
    )
    expect("GET after errors", client.get(key), b"not a list")
    expect("errors keep the connection", local_port(client), before)
    expect("DEL", client.delete(key), 1)


def concurrent(client):
    """200 threads at once; two clients, since the newest redis-py opens 100 connections a client at most."""
    with redis.Redis(**address(client)) as second:
        failures = []
        together = threading.Barrier(200)

        def work(i):
            own = (client, second)[i % 2]
            try:
                together.wait(30)
                expect(f"SET in thread {i}", own.set(f"{PREFIX}c{i}", i), True)
                expect(f"GET in thread {i}", own.get(f"{PREFIX}c{i}"), str(i).encode())
            except BaseException as failure:  # sys.exit ends a thread only: the main one must tell
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect("failures in 200 threads", failures, [])
        expect("DEL of 200", client.delete(*(f"{PREFIX}c{i}" for i in range(200))), 200)


def reconnect(client):
    with redis.Redis(**address(client)) as own:
        own.set(PREFIX + "kept", "v")
        first = local_port(own)
        with duplicate_of_socket(own) as quitting:
            expect("QUIT", own.quit(), True)
            # The close follows the answer: who asks on before it has come meets a reset, of any server.
            quitting.settimeout(30)
            expect("closed after QUIT", quitting.recv(1), b"")
        expect("GET after QUIT", own.get(PREFIX + "kept"), b"v")
        second = local_port(own)
        expect("a new connection after QUIT", first != second, True)

        connection = own.connection_pool.get_connection()
        connection._sock.shutdown(socket.SHUT_RDWR)
        own.connection_pool.release(connection)
        expect("GET after a lost socket", own.get(PREFIX + "kept"), b"v")
        expect("a new connection after a loss", local_port(own) != second, True)
        expect("DEL", own.delete(PREFIX + "kept"), 1)


STEPS = [
    ping,
    strings_over_shards,
    single_strings,
    binary_values,
    hashes,
    lists,
    sets,
    sorted_sets,
    expiry,
    pipelines,
    errors,
    concurrent,
    reconnect,
]


def typed_replies(client, resp3):
    """What differs on the wire between RESP2 and RESP3, as the library shows it."""
    key = PREFIX + "typed"

    def script(text):
        return client.eval(f"redis.setresp(3); {text}", 1, key)

    expect("boolean", script("return true"), True if resp3 else 1)
    expect("double", script("return {double=2.5}"), 2.5 if resp3 else b"2.5")
    expect("map", script("return {map={a=1}}"), {b"a": 1} if resp3 else [b"a", 1])
    expect("null", script("return nil"), None)
    hash_key = key + "h"
    client.zadd(key, {"a": 1, "b": 2.5})
    client.hset(hash_key, mapping={"f": "1"})
    scored = client.zrange(key, 0, -1, withscores=True)
    expect("ZRANGE WITHSCORES", [tuple(pair) for pair in scored], [(b"a", 1.0), (b"b", 2.5)])

    # Without the library's own conversions: what was on the wire.
    client.response_callbacks.clear()
    raw = client.execute_command
    expect("HGETALL", raw("HGETALL", hash_key), {b"f": b"1"} if resp3 else [b"f", b"1"])
    expect("HGETALL of nothing", raw("HGETALL", PREFIX + "none"), {} if resp3 else [])
    expect("HRANDFIELD", raw("HRANDFIELD", hash_key, 1, "WITHVALUES"), [[b"f", b"1"]] if resp3 else [b"f", b"1"])
    expect("ZSCORE", raw("ZSCORE", key, "b"), 2.5 if resp3 else b"2.5")
    expect("ZSCORE of nothing", raw("ZSCORE", key, "z"), None)
    flat = raw("ZRANGE", key, 0, -1, "WITHSCORES")
    expect("ZRANGE WITHSCORES", flat, [[b"a", 1.0], [b"b", 2.5]] if resp3 else [b"a", b"1", b"b", b"2.5"])
    expect("ZPOPMIN", raw("ZPOPMIN", key), [b"a", 1.0] if resp3 else [b"a", b"1"])
    expect("ZADD INCR", raw("ZADD", key, "INCR", "0.5", "b"), 3.0 if resp3 else b"3")
    expect("SMEMBERS of nothing", type(raw("SMEMBERS", PREFIX + "none")) in ((set, list) if resp3 else (list,)), True)
    expect("MGET with a hole", raw("MGET", PREFIX + "none", PREFIX + "none 2"), [None, None])
    expect("DEL of two", raw("DEL", key, hash_key), 2)


async def asynchronous(host, port):
    async with (
        redis.asyncio.Redis(host=host, port=port) as client,
        redis.asyncio.Redis(host=host, port=port) as second,
    ):
        expect("PING (asyncio)", await client.ping(), True)

        async def work(i):
            own = (client, second)[i % 2]
            await own.set(f"{PREFIX}a{i}", i)
            return await own.get(f"{PREFIX}a{i}")

        got = await asyncio.gather(*(work(i) for i in range(200)))
        expect("200 at once (asyncio)", got, [str(i).encode() for i in range(200)])
        pipe = client.pipeline(transaction=False)
        for i in range(200):
            pipe.delete(f"{PREFIX}a{i}")
        expect("a pipeline (asyncio)", await pipe.execute(), [1] * 200)


# ---- what the steps stand on ----


def expect_error(what, call, text):
    try:
        got = call()
    except redis.ResponseError as error:
        expect(what, str(error), text)
    else:
        fail(f"{what}: got {got!r:.500}, wanted the error {text!r}")


def local_port(client):
    """The port of the connection that the next command takes: it tells two connections apart."""
    connection = client.connection_pool.get_connection()
    try:
        return connection._sock.getsockname()[1]
    finally:
        client.connection_pool.release(connection)


def duplicate_of_socket(client):
    connection = client.connection_pool.get_connection()
    try:
        return connection._sock.dup()
    finally:
        client.connection_pool.release(connection)


def address(client):
    kwargs = client.connection_pool.connection_kwargs
    return {"host": kwargs["host"], "port": kwargs["port"]}


if __name__ == "__main__":
    main()
