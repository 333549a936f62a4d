#!/usr/bin/env python3
"""Runs a client, and prints what it sends: one line a read, numbered by connection.

    record.py 6379 redis-cli -p {port} PING      passes everything on to the Redis at 127.0.0.1:6379
    record.py refuse redis-cli -p {port} PING    knows PING alone, and refuses the rest in Redis' words

{port} stands for the port that this program listens at. Commands that came in one read are joined by "|".
"""

import socket
import subprocess
import sys
import threading


def main():
    target, *client = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, target), daemon=True).start()
    port = str(listener.getsockname()[1])
    sys.exit(subprocess.run([word.replace("{port}", port) for word in client]).returncode)


def accept(listener, target):
    number = 0
    while True:
        client, _ = listener.accept()
        number += 1
        arguments = (number, client) if target == "refuse" else (number, client, int(target))
        record = record_refusing if target == "refuse" else record_passing
        threading.Thread(target=record, args=arguments, daemon=True).start()


def record_refusing(number, client):
    for words in commands(client, number):
        if words[0].upper() == b"PING":
            send(client, b"+PONG\r\n")
        else:
            name, *args = (word.decode(errors="replace") for word in words)
            args = "".join(f"'{arg}' " for arg in args)
            send(client, f"-ERR unknown command '{name}', with args beginning with: {args}\r\n".encode())


def record_passing(number, client, target):
    server = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=pour, args=(server, client), daemon=True).start()
    for _ in commands(client, number, copy_to=server):
        pass
    server.shutdown(socket.SHUT_WR)


def pour(source, sink):
    while piece := receive(source):
        send(sink, piece)
    sink.close()


def commands(client, number, copy_to=None):
    """Yields each command's words, and prints them; those that came in one read stand in one line."""
    buffer = b""
    while piece := receive(client):
        if copy_to:
            send(copy_to, piece)
        buffer += piece
        together = []
        while (parsed := parse(buffer)) is not None:
            words, buffer = parsed
            together.append(words)
        if together:
            line = " | ".join(b" ".join(words).decode(errors="replace") for words in together)
            print(f"{number}: {line}", flush=True)
        yield from together


# Either side may be gone at any moment; the other's record goes on.
def receive(stream):
    try:
        return stream.recv(65536)
    except OSError:
        return b""


def send(stream, piece):
    try:
        stream.sendall(piece)
    except OSError:
        pass


def parse(buffer):
    """The first whole command (an array of bulk strings, or an inline one) and what follows it, or None."""
    line, end, rest = buffer.partition(b"\r\n")
    if not end:
        return None
    if not line.startswith(b"*"):
        return line.split() or [b""], rest
    words = []
    for _ in range(int(line[1:])):
        head, end, rest = rest.partition(b"\r\n")
        length = int(head[1:] or b"0")
        if not end or len(rest) < length + 2:
            return None
        words.append(rest[:length])
        rest = rest[length + 2 :]
    return words, rest


if __name__ == "__main__":
    main()
