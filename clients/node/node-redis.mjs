// node-redis as an application uses it, with default settings: `node-redis.mjs HOST PORT`.
// Ends with status 1 at the first difference from what Redis itself gives.

import { createClient, ErrorReply, RESP_TYPES } from 'redis';
import { expect, expectError, range, relay, waitUntil } from './expect.mjs';

const [host, port] = [process.argv[2], Number(process.argv[3])];
const prefix = `node-redis-${process.pid}:`;
const many = 64; // keys that are sure to lie on several shards

async function main() {
  const client = createClient({ url: `redis://${host}:${port}` });
  let connections = 0;
  client.on('ready', () => connections++);
  client.on('error', (error) => expect('no error is announced', error, null));
  await client.connect();
  for (const step of [ping, stringsOverShards, singleStrings, binaryValues, hashes, lists, sets, sortedSets,
    expiry, pipelines, errors, concurrent]) {
    await step(client);
  }
  await typedReplies(client, true);
  expect('connections so far', connections, 1);
  await client.close();

  const resp2 = createClient({ url: `redis://${host}:${port}`, RESP: 2 });
  await resp2.connect();
  await typedReplies(resp2, false);
  await resp2.close();

  await reconnect();
  console.log('node-redis: all as Redis does it');
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
  expect('MGET', await client.mGet(keys), range(many).map(String));
  // Duplicates and holes keep their places.
  expect('MGET with holes', await client.mGet([keys[3], `${prefix}none`, keys[1], keys[3]]), ['3', null, '1', '3']);
  expect('MSET', await client.mSet(keys.map((key, i) => [key, `new ${i}`])), 'OK');
  expect('MGET after MSET', await client.mGet(keys), range(many).map((i) => `new ${i}`));
  expect('EXISTS of many', await client.exists([...keys, `${prefix}none`]), many);
  expect('TOUCH of many', await client.touch(keys), many);
  expect('DEL of half', await client.del([...keys.slice(0, many / 2), `${prefix}none`]), many / 2);
  expect('UNLINK of the rest', await client.unlink(keys), many / 2);
  expect('GET of a deleted key', await client.get(keys[0]), null);
}

async function singleStrings(client) {
  const key = `${prefix}string`;
  expect('INCRBY', await client.incrBy(key, 41), 41);
  expect('DECR', await client.decr(key), 40);
  expect('INCRBYFLOAT', await client.incrByFloat(key, 0.5), '40.5');
  expect('SET NX', await client.set(key, 'x', { condition: 'NX' }), null);
  expect('SETNX', await client.setNX(key, 'x'), 0);
  expect('SET GET', await client.set(key, 'Hello', { GET: true }), '40.5');
  expect('APPEND', await client.append(key, ' World'), 11);
  expect('GETRANGE', await client.getRange(key, 0, 4), 'Hello');
  expect('SETRANGE', await client.setRange(key, 6, 'Redis'), 11);
  expect('GETDEL', await client.getDel(key), 'Hello Redis');
  expect('SETBIT', await client.setBit(key, 7, 1), 0);
  expect('BITCOUNT', await client.bitCount(key), 1);
  expect('TYPE', await client.type(key), 'string');
  const script = { keys: [key], arguments: ['a'] };
  expect('EVAL', await client.eval('return {KEYS[1], ARGV[1], 3}', script), [key, 'a', 3]);
  expect('DEL', await client.del(key), 1);
}

async function binaryValues(client) {
  const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const everyByte = Buffer.from(range(256));
  const values = [everyByte, Buffer.alloc(0), Buffer.from('\r\n$3\r\n*1\r\n'), Buffer.alloc(1 << 20, everyByte)];
  const keys = values.map((_, i) => Buffer.concat([Buffer.from(prefix), everyByte, Buffer.from([i])]));
  for (const [i, value] of values.entries()) {
    expect(`SET of binary value ${i}`, await binary.set(keys[i], value), 'OK');
    expect(`GET of binary value ${i}`, (await binary.get(keys[i])).equals(value), true);
  }
  const got = await binary.mGet(keys);
  expect('MGET of binary values', got.every((value, i) => value.equals(values[i])), true);
  expect('DEL of binary keys', await client.del(keys), keys.length);
}

async function hashes(client) {
  const key = `${prefix}hash`;
  expect('HSET', await client.hSet(key, { a: 1, b: 2, c: 'three' }), 3);
  expect('HGET', await client.hGet(key, 'a'), '1');
  expect('HGET of nothing', await client.hGet(key, 'z'), null);
  expect('HMGET', await client.hmGet(key, ['a', 'z', 'c']), ['1', null, 'three']);
  expect('HGETALL', { ...(await client.hGetAll(key)) }, { a: '1', b: '2', c: 'three' });
  expect('HGETALL of nothing', { ...(await client.hGetAll(`${prefix}none`)) }, {});
  expect('HKEYS', await client.hKeys(key), ['a', 'b', 'c']);
  expect('HVALS', await client.hVals(key), ['1', '2', 'three']);
  expect('HINCRBY', await client.hIncrBy(key, 'a', 9), 10);
  expect('HINCRBYFLOAT', await client.hIncrByFloat(key, 'a', 0.25), '10.25');
  expect('HEXISTS', await client.hExists(key, 'b'), 1);
  expect('HDEL', await client.hDel(key, ['a', 'b', 'z']), 2);
  expect('HLEN', await client.hLen(key), 1);
  expect('DEL', await client.del(key), 1);
}

async function lists(client) {
  const key = `${prefix}list`;
  expect('RPUSH', await client.rPush(key, ['a', 'b', 'c']), 3);
  expect('LPUSH', await client.lPush(key, 'z'), 4);
  expect('LRANGE', await client.lRange(key, 0, -1), ['z', 'a', 'b', 'c']);
  expect('LRANGE of nothing', await client.lRange(`${prefix}none`, 0, -1), []);
  expect('LINDEX', await client.lIndex(key, 1), 'a');
  expect('LINSERT', await client.lInsert(key, 'BEFORE', 'b', 'ab'), 5);
  expect('LSET', await client.lSet(key, 0, 'y'), 'OK');
  expect('LREM', await client.lRem(key, 0, 'ab'), 1);
  expect('LTRIM', await client.lTrim(key, 0, 2), 'OK');
  expect('LPOP', await client.lPop(key), 'y');
  expect('RPOP of two', await client.rPopCount(key, 2), ['b', 'a']);
  expect('LPOP of nothing', await client.lPop(key), null);
  expect('LLEN', await client.lLen(key), 0);
}

async function sets(client) {
  const key = `${prefix}set`;
  expect('SADD', await client.sAdd(key, ['a', 'b', 'c', 'a']), 3);
  expect('SMEMBERS', [...(await client.sMembers(key))].sort(), ['a', 'b', 'c']);
  expect('SISMEMBER', await client.sIsMember(key, 'a'), 1);
  expect('SMISMEMBER', await client.smIsMember(key, ['a', 'z']), [1, 0]);
  expect('SREM', await client.sRem(key, ['a', 'z']), 1);
  expect('SCARD', await client.sCard(key), 2);
  expect('SPOP', ['b', 'c'].includes(await client.sPop(key)), true);
  expect('DEL', await client.del(key), 1);
}

async function sortedSets(client) {
  const key = `${prefix}zset`;
  const members = [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }, { score: Infinity, value: 'c' }];
  expect('ZADD', await client.zAdd(key, members), 3);
  expect('ZSCORE', await client.zScore(key, 'b'), 2.5);
  expect('ZSCORE of infinity', await client.zScore(key, 'c'), Infinity);
  expect('ZSCORE of nothing', await client.zScore(key, 'z'), null);
  expect('ZINCRBY', await client.zIncrBy(key, 0.25, 'b'), 2.75);
  expect('ZMSCORE', await client.zmScore(key, ['a', 'z']), [1, null]);
  expect('ZRANK', await client.zRank(key, 'b'), 1);
  expect('ZRANGE', await client.zRange(key, 0, -1), ['a', 'b', 'c']);
  const scored = await client.zRangeWithScores(key, 0, 1);
  expect('ZRANGE WITHSCORES', scored, [{ value: 'a', score: 1 }, { value: 'b', score: 2.75 }]);
  expect('ZRANGEBYSCORE', await client.zRangeByScore(key, '(1', '+inf'), ['b', 'c']);
  expect('ZCOUNT', await client.zCount(key, '-inf', 3), 2);
  expect('ZPOPMIN', await client.zPopMin(key), { value: 'a', score: 1 });
  expect('ZREM', await client.zRem(key, 'b'), 1);
  expect('ZCARD', await client.zCard(key), 1);
  expect('DEL', await client.del(key), 1);
}

async function expiry(client) {
  const key = `${prefix}expiry`;
  expect('SET EX', await client.set(key, 'v', { expiration: { type: 'EX', value: 100 } }), 'OK');
  const ttl = await client.ttl(key);
  expect('TTL', ttl >= 98 && ttl <= 100, true);
  expect('PERSIST', await client.persist(key), 1);
  expect('TTL after PERSIST', await client.ttl(key), -1);
  expect('EXPIRE', await client.expire(key, 50), 1);
  expect('EXPIRE NX', await client.expire(key, 60, 'NX'), 0);
  expect('PEXPIRE', await client.pExpire(key, 20), 1);
  await waitUntil('the key expires', async () => (await client.get(key)) === null);
  expect('TTL of nothing', await client.ttl(key), -2);
}

async function pipelines(client) {
  const pipe = client.multi();
  range(500).forEach((i) => pipe.set(`${prefix}p${i}`, i).get(`${prefix}p${i}`));
  expect('a pipeline of 1,000', await pipe.execAsPipeline(), range(500).flatMap((i) => ['OK', String(i)]));

  // Commands of one turn of the event loop are a pipeline as well; an error is that command's alone.
  const [before, wrongType, unknown, after] = await Promise.allSettled([
    client.incr(`${prefix}p1`),
    client.lPush(`${prefix}p2`, 'x'),
    client.sendCommand(['NOSUCHCOMMAND', 'a']),
    client.mGet([`${prefix}p1`, `${prefix}p2`]),
  ]);
  expect('before the errors', before.value, 2);
  expect('the WRONGTYPE', wrongType.reason?.message.slice(0, 9), 'WRONGTYPE');
  expect('the unknown command', unknown.reason?.message.slice(0, 35), "ERR unknown command 'NOSUCHCOMMAND'");
  expect('after the errors', after.value, ['2', '2']);
  expect('DEL of 500', await client.del(range(500).map((i) => `${prefix}p${i}`)), 500);
}

async function errors(client) {
  const key = `${prefix}error`;
  await client.set(key, 'not a list');
  await expectError('LPUSH to a string', client.lPush(key, 'x'), ErrorReply,
    'WRONGTYPE Operation against a key holding the wrong kind of value');
  await expectError('INCR of a word', client.incr(key), ErrorReply, 'ERR value is not an integer or out of range');
  await expectError('an unknown command', client.sendCommand(['NOSUCHCOMMAND', 'a', 'b']), ErrorReply,
    "ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a' 'b' ");
  await expectError('a wrong count', client.sendCommand(['GET']), ErrorReply,
    "ERR wrong number of arguments for 'get' command");
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
  const clients = range(50).map(() => client.duplicate());
  await Promise.all(clients.map((each) => each.connect()));
  const seen = await Promise.all(range(200).map((i) => clients[i % 50].get(`${prefix}c${i}`)));
  expect('200 at once over 50 connections', seen, range(200).map(String));
  await Promise.all(clients.map((each) => each.close()));
  expect('DEL of 200', await client.del(range(200).map((i) => `${prefix}c${i}`)), 200);
}

/** What differs on the wire between RESP2 and RESP3: sendCommand leaves the replies as they came. */
async function typedReplies(client, resp3) {
  const [key, hash] = [`${prefix}typed`, `${prefix}typed hash`];
  const raw = (...words) => client.sendCommand(words);
  const script = (text) => raw('EVAL', `redis.setresp(3); ${text}`, '1', key);
  expect('boolean', await script('return true'), resp3 ? true : 1);
  expect('double', await script('return {double=2.5}'), resp3 ? 2.5 : '2.5');
  expect('map', await script('return {map={a=1}}'), resp3 ? { a: 1 } : ['a', 1]);
  expect('null', await script('return nil'), null);
  await client.zAdd(key, [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);
  await client.hSet(hash, { f: 1 });
  expect('HGETALL', await raw('HGETALL', hash), resp3 ? { f: '1' } : ['f', '1']);
  expect('ZSCORE', await raw('ZSCORE', key, 'b'), resp3 ? 2.5 : '2.5');
  expect('ZRANGE WITHSCORES', await raw('ZRANGE', key, '0', '-1', 'WITHSCORES'),
    resp3 ? [['a', 1], ['b', 2.5]] : ['a', '1', 'b', '2.5']);
  expect('ZADD INCR', await raw('ZADD', key, 'INCR', '0.5', 'b'), resp3 ? 3 : '3');
  expect('DEL of two', await client.del([key, hash]), 2);
}

async function reconnect() {
  const key = `${prefix}kept`;
  const line = await relay(host, port);
  const client = createClient({ url: `redis://127.0.0.1:${line.port}` });
  let [connections, losses] = [0, 0];
  client.on('ready', () => connections++);
  client.on('error', () => losses++);
  await client.connect();
  await client.set(key, 'v');

  line.cut();
  await waitUntil('connected again after a loss', () => connections === 2);
  expect('GET after a loss', await client.get(key), 'v');

  expect('QUIT', await client.sendCommand(['QUIT']), 'OK');
  await waitUntil('connected again after QUIT', () => connections === 3);
  expect('losses announced', losses, 2);
  expect('DEL', await client.del(key), 1);
  await client.close();
  line.close();
}

await main();
