// ioredis as an application uses it, with default settings: `ioredis.mjs HOST PORT`.
// Ends with status 1 at the first difference from what Redis itself gives.

import { Redis, ReplyError } from 'ioredis';
import { expect, expectError, range, relay, waitUntil } from './expect.mjs';

const [host, port] = [process.argv[2], Number(process.argv[3])];
const prefix = `ioredis-${process.pid}:`;
const many = 64; // keys that are sure to lie on several shards

async function main() {
  const client = new Redis(port, host);
  let connections = 0;
  client.on('connect', () => connections++);
  for (const step of [ping, stringsOverShards, singleStrings, binaryValues, hashes, lists, sets, sortedSets,
    expiry, pipelines, errors, concurrent]) {
    await step(client);
  }
  await typedReplies(client, { protocol: 3, replyMapping: 'legacy' });
  expect('connections so far', connections, 1);
  client.disconnect();
  for (const options of [{ protocol: 3, replyMapping: 'resp3' }, { protocol: 2, replyMapping: 'legacy' }]) {
    const other = new Redis({ port, host, ...options });
    await typedReplies(other, options);
    other.disconnect();
  }

  await reconnect();
  console.log('ioredis: all as Redis does it');
}

// ---- the steps, in the order in which they run ----

async function ping(client) {
  expect('PING', await client.ping(), 'PONG');
  expect('PING with a word', await client.ping('word'), 'word');
  expect('ECHO', await client.echo('back'), 'back');
}

async function stringsOverShards(client) {
  const keys = range(many).map((i) => `${prefix}s${i}`);
  for (const [i, key] of keys.entries()) {
    expect(`SET ${key}`, await client.set(key, i), 'OK');
  }
  for (const [i, key] of keys.entries()) {
    expect(`GET ${key}`, await client.get(key), String(i));
  }
  expect('MGET', await client.mget(keys), range(many).map(String));
  // Duplicates and holes keep their places.
  expect('MGET with holes', await client.mget(keys[3], `${prefix}none`, keys[1], keys[3]), ['3', null, '1', '3']);
  expect('MSET', await client.mset(Object.fromEntries(keys.map((key, i) => [key, `new ${i}`]))), 'OK');
  expect('MGET after MSET', await client.mget(keys), range(many).map((i) => `new ${i}`));
  expect('EXISTS of many', await client.exists(...keys, `${prefix}none`), many);
  expect('TOUCH of many', await client.touch(...keys), many);
  expect('DEL of half', await client.del(...keys.slice(0, many / 2), `${prefix}none`), many / 2);
  expect('UNLINK of the rest', await client.unlink(...keys), many / 2);
  expect('GET of a deleted key', await client.get(keys[0]), null);
}

async function singleStrings(client) {
  const key = `${prefix}string`;
  expect('INCRBY', await client.incrby(key, 41), 41);
  expect('DECR', await client.decr(key), 40);
  expect('INCRBYFLOAT', await client.incrbyfloat(key, 0.5), '40.5');
  expect('SET NX', await client.set(key, 'x', 'NX'), null);
  expect('SETNX', await client.setnx(key, 'x'), 0);
  expect('SET GET', await client.set(key, 'Hello', 'GET'), '40.5');
  expect('APPEND', await client.append(key, ' World'), 11);
  expect('GETRANGE', await client.getrange(key, 0, 4), 'Hello');
  expect('SETRANGE', await client.setrange(key, 6, 'Redis'), 11);
  expect('GETDEL', await client.getdel(key), 'Hello Redis');
  expect('SETBIT', await client.setbit(key, 7, 1), 0);
  expect('BITCOUNT', await client.bitcount(key), 1);
  expect('TYPE', await client.type(key), 'string');
  expect('EVAL', await client.eval('return {KEYS[1], ARGV[1], 3}', 1, key, 'a'), [key, 'a', 3]);
  expect('DEL', await client.del(key), 1);
}

async function binaryValues(client) {
  const everyByte = Buffer.from(range(256));
  const values = [everyByte, Buffer.alloc(0), Buffer.from('\r\n$3\r\n*1\r\n'), Buffer.alloc(1 << 20, everyByte)];
  const keys = values.map((_, i) => Buffer.concat([Buffer.from(prefix), everyByte, Buffer.from([i])]));
  for (const [i, value] of values.entries()) {
    expect(`SET of binary value ${i}`, await client.set(keys[i], value), 'OK');
    expect(`GET of binary value ${i}`, (await client.getBuffer(keys[i])).equals(value), true);
  }
  const got = await client.mgetBuffer(...keys);
  expect('MGET of binary values', got.every((value, i) => value.equals(values[i])), true);
  expect('DEL of binary keys', await client.del(...keys), keys.length);
}

async function hashes(client) {
  const key = `${prefix}hash`;
  expect('HSET', await client.hset(key, { a: 1, b: 2, c: 'three' }), 3);
  expect('HGET', await client.hget(key, 'a'), '1');
  expect('HGET of nothing', await client.hget(key, 'z'), null);
  expect('HMGET', await client.hmget(key, 'a', 'z', 'c'), ['1', null, 'three']);
  expect('HGETALL', await client.hgetall(key), { a: '1', b: '2', c: 'three' });
  expect('HGETALL of nothing', await client.hgetall(`${prefix}none`), {});
  expect('HKEYS', await client.hkeys(key), ['a', 'b', 'c']);
  expect('HVALS', await client.hvals(key), ['1', '2', 'three']);
  expect('HINCRBY', await client.hincrby(key, 'a', 9), 10);
  expect('HINCRBYFLOAT', await client.hincrbyfloat(key, 'a', 0.25), '10.25');
  expect('HEXISTS', await client.hexists(key, 'b'), 1);
  expect('HDEL', await client.hdel(key, 'a', 'b', 'z'), 2);
  expect('HLEN', await client.hlen(key), 1);
  expect('DEL', await client.del(key), 1);
}

async function lists(client) {
  const key = `${prefix}list`;
  expect('RPUSH', await client.rpush(key, 'a', 'b', 'c'), 3);
  expect('LPUSH', await client.lpush(key, 'z'), 4);
  expect('LRANGE', await client.lrange(key, 0, -1), ['z', 'a', 'b', 'c']);
  expect('LRANGE of nothing', await client.lrange(`${prefix}none`, 0, -1), []);
  expect('LINDEX', await client.lindex(key, 1), 'a');
  expect('LINSERT', await client.linsert(key, 'BEFORE', 'b', 'ab'), 5);
  expect('LSET', await client.lset(key, 0, 'y'), 'OK');
  expect('LREM', await client.lrem(key, 0, 'ab'), 1);
  expect('LTRIM', await client.ltrim(key, 0, 2), 'OK');
  expect('LPOP', await client.lpop(key), 'y');
  expect('RPOP of two', await client.rpop(key, 2), ['b', 'a']);
  expect('LPOP of nothing', await client.lpop(key), null);
  expect('LLEN', await client.llen(key), 0);
}

async function sets(client) {
  const key = `${prefix}set`;
  expect('SADD', await client.sadd(key, 'a', 'b', 'c', 'a'), 3);
  expect('SMEMBERS', [...(await client.smembers(key))].sort(), ['a', 'b', 'c']);
  expect('SISMEMBER', await client.sismember(key, 'a'), 1);
  expect('SMISMEMBER', await client.smismember(key, 'a', 'z'), [1, 0]);
  expect('SREM', await client.srem(key, 'a', 'z'), 1);
  expect('SCARD', await client.scard(key), 2);
  expect('SPOP', ['b', 'c'].includes(await client.spop(key)), true);
  expect('DEL', await client.del(key), 1);
}

async function sortedSets(client) {
  const key = `${prefix}zset`;
  expect('ZADD', await client.zadd(key, 1, 'a', 2.5, 'b', '+inf', 'c'), 3);
  expect('ZRANK', await client.zrank(key, 'b'), 1);
  expect('ZSCORE of nothing', await client.zscore(key, 'z'), null);
  expect('ZRANGE', await client.zrange(key, 0, -1), ['a', 'b', 'c']);
  expect('ZRANGEBYSCORE', await client.zrangebyscore(key, '(1', '+inf'), ['b', 'c']);
  expect('ZCOUNT', await client.zcount(key, '-inf', 3), 2);
  expect('ZREM', await client.zrem(key, 'a'), 1);
  expect('ZCARD', await client.zcard(key), 2);
  expect('DEL', await client.del(key), 1);
}

async function expiry(client) {
  const key = `${prefix}expiry`;
  expect('SET EX', await client.set(key, 'v', 'EX', 100), 'OK');
  const ttl = await client.ttl(key);
  expect('TTL', ttl >= 98 && ttl <= 100, true);
  expect('PERSIST', await client.persist(key), 1);
  expect('TTL after PERSIST', await client.ttl(key), -1);
  expect('EXPIRE', await client.expire(key, 50), 1);
  expect('EXPIRE NX', await client.expire(key, 60, 'NX'), 0);
  expect('PEXPIRE', await client.pexpire(key, 20), 1);
  await waitUntil('the key expires', async () => (await client.get(key)) === null);
  expect('TTL of nothing', await client.ttl(key), -2);
}

async function pipelines(client) {
  const pipe = client.pipeline();
  range(500).forEach((i) => pipe.set(`${prefix}p${i}`, i).get(`${prefix}p${i}`));
  expect('a pipeline of 1,000', await pipe.exec(), range(500).flatMap((i) => [[null, 'OK'], [null, String(i)]]));

  // An error in the middle is that command's alone.
  const [before, wrongType, unknown, after] = await client.pipeline()
    .incr(`${prefix}p1`)
    .lpush(`${prefix}p2`, 'x')
    .call('NOSUCHCOMMAND', 'a')
    .mget(`${prefix}p1`, `${prefix}p2`)
    .exec();
  expect('before the errors', before, [null, 2]);
  expect('the WRONGTYPE', wrongType[0]?.message.slice(0, 9), 'WRONGTYPE');
  expect('the unknown command', unknown[0]?.message.slice(0, 35), "ERR unknown command 'NOSUCHCOMMAND'");
  expect('after the errors', after, [null, ['2', '2']]);
  expect('DEL of 500', await client.del(...range(500).map((i) => `${prefix}p${i}`)), 500);
}

async function errors(client) {
  const key = `${prefix}error`;
  await client.set(key, 'not a list');
  await expectError('LPUSH to a string', client.lpush(key, 'x'), ReplyError,
    'WRONGTYPE Operation against a key holding the wrong kind of value');
  await expectError('INCR of a word', client.incr(key), ReplyError, 'ERR value is not an integer or out of range');
  await expectError('an unknown command', client.call('NOSUCHCOMMAND', 'a', 'b'), ReplyError,
    "ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' 'b' ");
  await expectError('a wrong count', client.call('GET'), ReplyError, "ERR wrong number of arguments for 'get' command");
  expect('GET after errors', await client.get(key), 'not a list');
  expect('DEL', await client.del(key), 1);
}

async function concurrent(client) {
  const got = await Promise.all(range(200).map(async (i) => {
    await client.set(`${prefix}c${i}`, i);
    return client.get(`${prefix}c${i}`);
  }));
  expect('200 at once', got, range(200).map(String));
  // And over connections of their own.
  const clients = range(50).map(() => new Redis(port, host));
  const seen = await Promise.all(range(200).map((i) => clients[i % 50].get(`${prefix}c${i}`)));
  expect('200 at once over 50 connections', seen, range(200).map(String));
  clients.forEach((each) => each.disconnect());
  expect('DEL of 200', await client.del(...range(200).map((i) => `${prefix}c${i}`)), 200);
}

/**
 * What differs between RESP2 and RESP3. By default ioredis speaks RESP3 and hands out RESP2's kinds of
 * values ('legacy'), but what lies nested on the wire stays nested.
 */
async function typedReplies(client, { protocol, replyMapping }) {
  const typed = replyMapping === 'resp3';
  const [key, hash] = [`${prefix}typed`, `${prefix}typed hash`];
  const script = (text) => client.eval(`redis.setresp(3); ${text}`, 1, key);
  expect('boolean', await script('return true'), typed ? true : 1);
  expect('double', await script('return {double=2.5}'), typed ? 2.5 : '2.5');
  expect('map', await script('return {map={a=1}}'), typed ? { a: 1 } : ['a', 1]);
  expect('null', await script('return nil'), null);
  await client.zadd(key, 1, 'a', 2.5, 'b');
  await client.hset(hash, { f: 1 });
  expect('HGETALL', await client.hgetall(hash), { f: '1' });
  // call() leaves the replies as they came.
  expect('HGETALL by call', await client.call('HGETALL', hash), typed ? { f: '1' } : ['f', '1']);
  expect('ZSCORE by call', await client.call('ZSCORE', key, 'b'), typed ? 2.5 : '2.5');
  expect('ZRANGE WITHSCORES by call', await client.call('ZRANGE', key, '0', '-1', 'WITHSCORES'),
    typed ? [['a', 1], ['b', 2.5]] : protocol === 3 ? [['a', '1'], ['b', '2.5']] : ['a', '1', 'b', '2.5']);
  expect('ZADD INCR by call', await client.call('ZADD', key, 'INCR', '0.5', 'b'), typed ? 3 : '3');
  expect('DEL of two', await client.del(key, hash), 2);
}

async function reconnect() {
  const key = `${prefix}kept`;
  const line = await relay(host, port);
  const client = new Redis(line.port, '127.0.0.1');
  client.on('error', () => {}); // a loss is announced here as well
  let connections = 0;
  client.on('ready', () => connections++);
  await client.set(key, 'v');
  expect('connections at first', connections, 1);

  line.cut();
  await waitUntil('connected again after a loss', () => connections === 2);
  expect('GET after a loss', await client.get(key), 'v');
  expect('DEL', await client.del(key), 1);

  // After QUIT ioredis connects again only when told.
  expect('QUIT', await client.quit(), 'OK');
  await waitUntil('closed after QUIT', () => client.status === 'end');
  await client.connect();
  expect('PING after QUIT', await client.ping(), 'PONG');
  client.disconnect();
  line.close();
}

await main();
