// What the sessions of the Node clients stand on: strict comparison, waiting, and a connection to cut.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { inspect, isDeepStrictEqual } from 'node:util';

/** Ends the process with status 1 if `got` is not `wanted`, types included (1 is not '1'). */
export function expect(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) {
    fail(`${what}: got ${short(got)}, wanted ${short(wanted)}`);
  }
}

/** Demands that the promise is refused with an error of class `type` that says `text`. */
export async function expectError(what, promise, type, text) {
  const [outcome] = await Promise.allSettled([promise]);
  if (outcome.status === 'fulfilled') {
    fail(`${what}: got ${short(outcome.value)}, wanted the error ${text}`);
  }
  expect(`${what}: class of the error`, outcome.reason instanceof type, true);
  expect(`${what}: text of the error`, outcome.reason.message, text);
}

/** Polls until `condition` holds, for 10 s at most. */
export async function waitUntil(what, condition) {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > deadline) {
      fail(`waited 10 s in vain: ${what}`);
    }
    await pause(5);
  }
}

/** A TCP relay to host:port whose connections `cut` destroys: a loss that no library's inside is needed for. */
export async function relay(host, port) {
  const streams = new Set();
  const server = createServer((client) => {
    const upstream = connect(port, host);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      streams.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        streams.delete(one);
        other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    cut: () => streams.forEach((stream) => stream.destroy()),
    close: () => server.close(),
  };
}

export function range(n) {
  return [...Array(n).keys()];
}

export function fail(message) {
  console.error(message);
  process.exit(1);
}

function short(value) {
  return inspect(value, { depth: 4, breakLength: Infinity }).slice(0, 500);
}
