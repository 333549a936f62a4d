// What ioredis has of its own for more than one command: `idioms-ioredis.mjs HOST PORT`. Keys of one step have one hash tag.

import { Redis } from 'ioredis';
import { expect, fail, range, waitUntil } from './expect.mjs';

const [host, port] = [process.argv[2], Number(process.argv[3])];
const tag = `{ioredis-${process.pid}}`;

async function main() {
  for (const options of [{ protocol: 2 }, { protocol: 3 }]) {
    const client = new Redis({ port, host, ...options });
    for (const step of [transactions, optimistic, publications, blocking, scripts, scans, streams]) {
      await step(client, options);
    }
    for await (const keys of client.scanStream({ match: `${tag}*` })) {
      if (keys.length > 0) await client.del(...keys);
    }
    client.disconnect();
  }
  console.log('ioredis: its idioms as on Redis');
}

async function transactions(client) {
  const done = await client.multi().set(`${tag}a`, 1).incr(`${tag}a`).lpush(`${tag}a`, 'x').get(`${tag}a`).exec();
  expect('a transaction', done.map(([error, reply]) => error?.message.slice(0, 9) ?? reply), ['OK', 2, 'WRONGTYPE', '2']);
  await client.multi({ pipeline: false });
  expect('queued by itself', await client.set(`${tag}a`, 5), 'QUEUED');
  expect('a transaction without a pipeline', await client.exec(), [[null, 'OK']]);
  await client.multi({ pipeline: false });
  expect('given up', await client.discard(), 'OK');
}

async function optimistic(client, options) {
  const other = new Redis({ port, host, ...options });
  await client.watch(`${tag}w`);
  await other.set(`${tag}w`, 1);
  expect('a watched key was written', await client.multi().set(`${tag}w`, 2).exec(), null);
  expect('the other one stands', await client.get(`${tag}w`), '1');
  other.disconnect();
}

async function publications(client, options) {
  const listener = new Redis({ port, host, ...options });
  const got = [];
  listener.on('message', (channel, text) => got.push(`${channel}: ${text}`));
  listener.on('pmessage', (pattern, channel, text) => got.push(`${pattern} ${channel}: ${text}`));
  expect('two channels', await listener.subscribe(`${tag}c`, 'another'), 2);
  expect('a pattern', await listener.psubscribe('an*'), 3);
  expect('receivers', await client.publish('another', 'hello'), 2);
  await waitUntil('both messages', () => got.length === 2);
  expect('messages', got.sort(), ['an* another: hello', 'another: hello']);
  expect('channels', (await client.pubsub('CHANNELS', '*')).sort(), [`${tag}c`, 'another'].sort());
  expect('no channel', await listener.unsubscribe(`${tag}c`, 'another'), 1);
  expect('no pattern', await listener.punsubscribe('an*'), 0);
  expect('asks as others do', await listener.ping(), 'PONG');
  listener.disconnect();
}

async function blocking(client, options) {
  const waiting = new Redis({ port, host, ...options });
  const popped = waiting.blpop(`${tag}q`, `${tag}r`, 20);
  await client.rpush(`${tag}r`, 'x');
  expect('what came', await popped, [`${tag}r`, 'x']);
  expect('nothing came', await waiting.brpop(`${tag}q`, 0.05), null);
  const vanishing = waiting.blpop(`${tag}q`, 0).catch(() => 'gone');
  waiting.disconnect();
  expect('who is gone', await vanishing, 'gone');
  await client.rpush(`${tag}q`, 'kept');
  expect('pops nothing', await client.lpop(`${tag}q`), 'kept');
}

async function scripts(client) {
  client.defineCommand('addTo', { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  const keys = range(20).map((i) => `script-${process.pid}-${i}`); // on all shards
  expect('a script', await Promise.all(keys.map((key, i) => client.addTo(key, i))), range(20));
  expect('in a pipeline', await client.pipeline().addTo(keys[1], 1).addTo(keys[2], 1).exec(), [[null, 2], [null, 3]]);
  const [key, other] = [`${tag}s`, `${tag}t`];
  expect('in a transaction', await client.multi().addTo(key, 1).addTo(other, 2).exec(), [[null, 1], [null, 2]]);
  await client.del(...keys);
}

async function scans(client) {
  const names = range(300).map((i) => `scan-${process.pid}-${i}`);
  await client.mset(Object.fromEntries(names.map((name) => [name, 1])));
  const seen = new Set();
  for await (const keys of client.scanStream({ match: `scan-${process.pid}-*`, count: 40 })) {
    keys.forEach((key) => seen.add(key));
  }
  expect('scanStream', [...seen].sort(), names.sort());
  await client.del(...names);
  await client.hset(`${tag}h`, Object.fromEntries(range(600).map((i) => [`f${i}`, i])));
  let fields = 0;
  for await (const pairs of client.hscanStream(`${tag}h`)) fields += pairs.length / 2;
  if (fields < 600) fail(`hscanStream: ${fields} fields`);
}

async function streams(client) {
  const key = `${tag}x`;
  await client.xgroup('CREATE', key, 'g', '0', 'MKSTREAM');
  const id = await client.xadd(key, '*', 'f', 'v');
  const got = await client.xreadgroup('GROUP', 'g', 'me', 'COUNT', 1, 'BLOCK', 1000, 'STREAMS', key, '>');
  expect('what is read', JSON.stringify(got).includes(id), true);
  expect('what is acknowledged', await client.xack(key, 'g', id), 1);
}

await main();
