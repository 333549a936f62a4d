"""A session of redis-py by TLS, with a certificate of its own: tls.py HOST PORT CA CERT KEY."""

import sys
import threading

import redis

host, port, ca, cert, key = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
secured = dict(host=host, port=port, ssl=True, ssl_ca_certs=ca, ssl_certfile=cert, ssl_keyfile=key, socket_timeout=30)


def expect(got, wanted):
    assert got == wanted, f"{got!r} is not {wanted!r}"


with redis.Redis(**secured) as client:
    client.delete("{t}balance", "{t}log")
    expect(client.set("key", "value"), True)
    expect(client.get("key"), b"value")
    large = bytes(range(256)) * 20_000
    expect(client.set("large", large), True)
    expect(client.get("large"), large)

    with client.pipeline(transaction=False) as pipe:
        for number in range(2_000):
            pipe.set(f"k{number}", number)
            pipe.get(f"k{number}")
        replies = pipe.execute()
    expect(replies[1::2], [str(number).encode() for number in range(2_000)])

    with client.pipeline() as pipe:
        pipe.watch("{t}balance")
        pipe.multi()
        pipe.incr("{t}balance")
        pipe.rpush("{t}log", "one more")
        expect(pipe.execute(), [1, 1])

    messages = client.pubsub(ignore_subscribe_messages=True)
    messages.subscribe("news")
    messages.get_message(timeout=30)
    expect(client.publish("news", "hello"), 1)
    got = messages.get_message(timeout=30)
    while got is None:
        got = messages.get_message(timeout=30)
    expect((got["channel"], got["data"]), (b"news", b"hello"))
    messages.close()

    with redis.Redis(**secured) as other:
        pusher = threading.Timer(0, lambda: other.rpush("jobs", "job"))
        pusher.start()
        expect(client.blpop("jobs", timeout=30), (b"jobs", b"job"))
        pusher.join()

try:
    redis.Redis(host=host, port=port, ssl=True, ssl_ca_certs=ca, socket_timeout=30).ping()
except redis.exceptions.RedisError:
    pass
else:
    raise AssertionError("a client without a certificate came in")
