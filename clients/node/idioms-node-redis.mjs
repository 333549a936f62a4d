// What node-redis has of its own for more than one command: `idioms-node-redis.mjs HOST PORT`. Keys of one step have one tag.

import { createClient, defineScript, WatchError } from 'redis';
import { expect, range, waitUntil } from './expect.mjs';

const url = `redis://${process.argv[2]}:${process.argv[3]}`;
const tag = `{node-redis-${process.pid}}`;

const addTo = defineScript({
  SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
  NUMBER_OF_KEYS: 1,
  parseCommand(parser, key, by) {
    parser.pushKey(key);
    parser.push(String(by));
  },
  transformReply: undefined,
});

async function main() {
  for (const RESP of [2, 3]) {
    const client = createClient({ url, RESP, scripts: { addTo } });
    await client.connect();
    for (const step of [transactions, publications, blocking, scripts, scans]) {
      await step(client);
    }
    client.destroy();
  }
  console.log('node-redis: its idioms as on Redis');
}

async function transactions(client) {
  const key = `${tag}a`;
  expect('a transaction', await client.multi().set(key, 1).incr(key).get(key).exec(), ['OK', 2, '2']);
  const other = await client.duplicate().connect();
  await client.watch(key);
  await other.set(key, 7);
  const [outcome] = await Promise.allSettled([client.multi().set(key, 8).exec()]);
  expect('a watched key was written', outcome.reason instanceof WatchError, true);
  expect('the other one stands', await client.get(key), '7');
  other.destroy();
  await client.del(key);
}

async function publications(client) {
  const listener = await client.duplicate().connect();
  const got = [];
  await listener.subscribe(['c1', 'c2', 'c3'], (text, channel) => got.push(`${channel}: ${text}`));
  await listener.pSubscribe('c?', (text, channel) => got.push(`c? ${channel}: ${text}`));
  await listener.sSubscribe(`${tag}shard`, (text) => got.push(`shard: ${text}`));
  expect('receivers', await client.publish('c2', 'hello'), 2);
  expect('receivers of a shard channel', await client.sPublish(`${tag}shard`, 'hello'), 1);
  await waitUntil('three messages', () => got.length === 3);
  expect('messages', got.sort(), ['c2: hello', 'c? c2: hello', 'shard: hello']);
  await listener.unsubscribe();
  await listener.pUnsubscribe();
  await listener.sUnsubscribe();
  listener.destroy();
}

async function blocking(client) {
  const waiting = await client.duplicate().connect();
  const popped = waiting.blPop([`${tag}q`, `${tag}r`], 20);
  await client.rPush(`${tag}r`, 'x');
  expect('what came', { ...(await popped) }, { key: `${tag}r`, element: 'x' });
  expect('nothing came', await waiting.blPop(`${tag}q`, 0.05), null);
  waiting.destroy();
}

async function scripts(client) {
  const keys = range(20).map((i) => `node-script-${process.pid}-${i}`); // on all shards
  for (const [i, key] of keys.entries()) {
    expect('a script', await client.addTo(key, i), i);
  }
  await client.del(keys);
}

async function scans(client) {
  const names = range(300).map((i) => `node-scan-${process.pid}-${i}`);
  await client.mSet(Object.fromEntries(names.map((name) => [name, '1'])));
  const seen = new Set();
  for await (const keys of client.scanIterator({ MATCH: `node-scan-${process.pid}-*`, COUNT: 40 })) {
    [keys].flat().forEach((key) => seen.add(key));
  }
  expect('scanIterator', [...seen].sort(), names.sort());
  await client.del(names);
}

await main();
