#!/usr/bin/env python3
"""What redis-py has of its own for more than one command: `idioms.py HOST PORT`. Keys of one step have one hash tag."""

import asyncio
import os
import sys
import threading

import redis
import redis.asyncio

from expect import expect, fail, wait_until

TAG = f"{{redis-py-{os.getpid()}}}"


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    for protocol in (2, 3):
        with redis.Redis(host, port, protocol=protocol, decode_responses=True) as client:
            for step in (transactions, optimistic, locks, pubsub, worker_thread, blocking, scripts, scans, streams):
                step(client)
            client.delete(*client.scan_iter(match=TAG + "*"))
    asyncio.run(asynchronous(host, port))
    print(f"redis-py {redis.__version__}: its idioms as on Redis")


def transactions(client):
    with client.pipeline() as pipe:  # in MULTI unless told otherwise
        pipe.set(TAG + "a", 1).incr(TAG + "a").hset(TAG + "h", "f", "v").get(TAG + "a")
        expect("a transaction", pipe.execute(), [True, 2, 1, "2"])
        pipe.lpush(TAG + "a", "x").incr(TAG + "a")
        wrong, right = pipe.execute(raise_on_error=False)
        expect("an error within", (type(wrong), right), (redis.ResponseError, 3))


def optimistic(client):
    key = TAG + "counter"
    client.set(key, 0)
    with client.pipeline() as pipe:
        pipe.watch(key)
        client.incr(key)
        pipe.multi()
        pipe.set(key, 100)
        try:
            pipe.execute()
            fail("a WATCH was not noticed")
        except redis.WatchError:
            pass

    def add(pipe):
        now = int(pipe.get(key))
        pipe.multi()
        pipe.set(key, now + 1)

    threads = [threading.Thread(target=lambda: [client.transaction(add, key) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect("no lost update", client.get(key), "81")


def locks(client):
    with client.lock(TAG + "lock", timeout=30) as lock:
        expect("a lock that is taken", client.lock(TAG + "lock", blocking=False).acquire(), False)
        expect("a lock that is longer held", lock.extend(10), True)
        expect("its owner", lock.owned(), True)
    expect("a lock that is free", client.exists(TAG + "lock"), 0)


def pubsub(client):
    with client.pubsub() as listener:
        listener.subscribe(TAG + "c1", "another")
        listener.psubscribe("an*")
        kinds = [next_message(listener)["type"] for _ in range(3)]
        expect("confirmations", kinds, ["subscribe", "subscribe", "psubscribe"])
        expect("receivers", client.publish("another", "hello"), 2)
        got = sorted((message["type"], message["data"]) for message in (next_message(listener), next_message(listener)))
        expect("messages", got, [("message", "hello"), ("pmessage", "hello")])
        expect("channels", sorted(client.pubsub_channels()), sorted([TAG + "c1", "another"]))
        expect("subscribers", [count for _, count in client.pubsub_numsub(TAG + "c1", "another")], [1, 1])
        listener.unsubscribe()
        listener.punsubscribe()
        kinds = [next_message(listener)["type"] for _ in range(3)]
        expect("ends", sorted(kinds), ["punsubscribe", "unsubscribe", "unsubscribe"])


def worker_thread(client):
    got = []
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(**{TAG + "thread": got.append})
    thread = listener.run_in_thread(sleep_time=0.01)
    wait_until("somebody to listen", lambda: client.publish(TAG + "thread", "x") == 1)
    wait_until("the message", lambda: got)
    thread.stop()
    thread.join()
    expect("the message", got[0]["data"], "x")


def blocking(client):
    expect("nothing to pop", client.blpop([TAG + "q"], timeout=0.05), None)
    with redis.Redis(**address(client)) as other:
        popped = []
        waiting = threading.Thread(target=lambda: popped.append(other.blpop([TAG + "q", TAG + "r"], timeout=20)))
        waiting.start()
        client.rpush(TAG + "r", "x")
        waiting.join()
    expect("what came", [list(item) for item in popped], [[TAG + "r", "x"]])
    client.rpush(TAG + "q", "a", "b")
    expect("BLMOVE", client.blmove(TAG + "q", TAG + "r", 1), "a")
    expect("BLMPOP", client.blmpop(1, 2, TAG + "q", TAG + "r", direction="LEFT"), [TAG + "q", ["b"]])


def scripts(client):
    add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    expect("a script", [add(keys=[f"{TAG}s{i}"], args=[i]) for i in range(5)], list(range(5)))
    for i in range(20):  # on keys of all shards
        key = f"{TAG[1:-1]}:{i}"
        expect("a script elsewhere", add(keys=[key], args=[7]), 7)
        client.delete(key)
    with client.pipeline() as pipe:
        add(keys=[TAG + "s1"], args=[1], client=pipe)
        add(keys=[TAG + "s2"], args=[1], client=pipe)
        expect("scripts in a transaction", pipe.execute(), [2, 3])


def scans(client):
    names = {f"{TAG[1:-1]}:scan:{i}" for i in range(300)}
    client.mset(dict.fromkeys(names, "1"))
    expect("scan_iter", set(client.scan_iter(match=TAG[1:-1] + ":scan:*", count=50)), names)
    expect("KEYS", set(client.keys(TAG[1:-1] + ":scan:*")), names)
    client.delete(*names)
    client.hset(TAG + "hscan", mapping={f"f{i}": i for i in range(600)})
    expect("hscan_iter", len(dict(client.hscan_iter(TAG + "hscan"))), 600)
    client.zadd(TAG + "zscan", {f"m{i}": i for i in range(300)})
    expect("zscan_iter", len(list(client.zscan_iter(TAG + "zscan"))), 300)


def streams(client):
    key = TAG + "stream"
    client.xgroup_create(key, "g", "0", mkstream=True)
    ids = [client.xadd(key, {"n": i}) for i in range(3)]
    got = client.xreadgroup("g", "me", {key: ">"}, count=2, block=1000)
    entries = got[key] if isinstance(got, dict) else got[0][1]
    entries = entries[0] if entries and isinstance(entries[0], list) else entries
    expect("what is read", [entry[0] for entry in entries], ids[:2])
    expect("what is acknowledged", client.xack(key, "g", *ids[:2]), 2)
    expect("what is left", client.xlen(key), 3)


async def asynchronous(host, port):
    async with redis.asyncio.Redis(host=host, port=port, decode_responses=True) as client:
        async with client.pipeline(transaction=True) as pipe:
            expect("a transaction (asyncio)", await pipe.set(TAG + "x", 1).incr(TAG + "x").execute(), [True, 2])
        waiting = asyncio.create_task(client.blpop([TAG + "y"], timeout=20))
        await client.rpush(TAG + "y", "z")
        expect("a pop (asyncio)", list(await waiting), [TAG + "y", "z"])
        async with client.pubsub() as listener:
            await listener.subscribe("news")
            async for message in listener.listen():
                if message["type"] == "subscribe":  # not before: the two connections know nothing of one another
                    await client.publish("news", "hello")
                else:
                    expect("a message (asyncio)", message["data"], "hello")
                    break
        found = [key async for key in client.scan_iter(match=TAG + "*")]
        expect("scan_iter (asyncio)", found, [TAG + "x"])
        await client.delete(TAG + "x")


def next_message(listener):
    return wait_until("a message", lambda: listener.get_message(timeout=1))


def address(client):
    kwargs = client.connection_pool.connection_kwargs
    return {name: kwargs[name] for name in ("host", "port", "decode_responses")}


if __name__ == "__main__":
    main()
