"""Names and passwords as redis-py gives them: python access.py HOST PORT. The pool has the password `right`, and a user `app`
with the password `secret` who may do all but FLUSHALL on `app:*` and `app.*`."""

import sys

import redis

host, port = sys.argv[1], int(sys.argv[2])


def refused(error, call, *words):
    try:
        call(*words)
    except error as refusal:
        return str(refusal)
    sys.exit(f"{words} was not refused")


for protocol in (2, 3):
    at = dict(host=host, port=port, protocol=protocol, decode_responses=True)
    app = redis.Redis(username="app", password="secret", **at)
    assert app.acl_whoami() == "app"
    assert app.set("app:1", "v") and app.get("app:1") == "v"
    refused(redis.exceptions.NoPermissionError, app.get, "other")
    refused(redis.exceptions.NoPermissionError, app.flushall)
    refused(redis.exceptions.NoPermissionError, app.publish, "other", "x")
    with app.pipeline() as pipe:
        pipe.multi()
        pipe.set("app:1", "w")
        pipe.get("app:1")
        assert pipe.execute() == [True, "w"]
    with app.pipeline(transaction=False) as pipe:
        pipe.get("app:1")
        pipe.get("other")
        values = pipe.execute(raise_on_error=False)
        assert values[0] == "w" and isinstance(values[1], redis.exceptions.NoPermissionError), values
    listener = app.pubsub()
    listener.subscribe("app.1")
    assert listener.get_message(timeout=10)["type"] == "subscribe"
    listener.close()

    everybody = redis.Redis(password="right", **at)
    assert everybody.acl_whoami() == "default" and everybody.get("app:1") == "w"
    assert "read" in everybody.acl_cat() and "get" in everybody.acl_cat("read")
    assert sorted(everybody.acl_users()) == ["app", "default"]

    refused(redis.exceptions.AuthenticationError, redis.Redis(username="app", password="wrong", **at).ping)
    refused(redis.exceptions.AuthenticationError, redis.Redis(**at).ping)
print("ok")
