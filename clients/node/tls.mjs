// A session of ioredis by TLS, with a certificate of its own: tls.mjs HOST PORT CA CERT KEY.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';

const [host, port] = [process.argv[2], Number(process.argv[3])];
const [ca, cert, key] = process.argv.slice(4, 7).map((file) => readFileSync(file));
const secured = { host, port, tls: { ca, cert, key, servername: 'localhost' } };

const client = new Redis(secured);
assert.equal(await client.set('key', 'value'), 'OK');
assert.equal(await client.get('key'), 'value');
const large = Buffer.alloc(5_000_000, 'large');
assert.equal(await client.set('large', large), 'OK');
assert.deepEqual(await client.getBuffer('large'), large);

const pipeline = client.pipeline();
for (let number = 0; number < 2_000; number += 1) pipeline.set(`n${number}`, number).get(`n${number}`);
const replies = await pipeline.exec();
for (let number = 0; number < 2_000; number += 1) {
  assert.deepEqual(replies[2 * number + 1], [null, String(number)]);
}

assert.deepEqual(await client.multi().incr('{u}a').incr('{u}b').exec(), [[null, 1], [null, 1]]);

const subscriber = new Redis(secured);
const heard = new Promise((resolve) => { subscriber.on('message', (...message) => resolve(message)); });
await subscriber.subscribe('ticks');
assert.equal(await client.publish('ticks', 'tick'), 1);
assert.deepEqual(await heard, ['ticks', 'tick']);

const popped = subscriber.duplicate().blpop('queue', 30);
await client.rpush('queue', 'job');
assert.deepEqual(await popped, ['queue', 'job']);
process.exit(0);
