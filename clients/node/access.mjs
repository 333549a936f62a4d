// Names and passwords as ioredis gives them: node access.mjs HOST PORT. The pool is the one of clients/python/access.py.

import assert from 'node:assert/strict';
import Redis from 'ioredis';

const [host, port] = process.argv.slice(2);
const at = { host, port: Number(port), retryStrategy: null, lazyConnect: true };

const app = new Redis({ ...at, username: 'app', password: 'secret' });
await app.connect();
assert.equal(await app.acl('WHOAMI'), 'app');
assert.equal(await app.set('app:1', 'v'), 'OK');
await assert.rejects(app.get('other'), /NOPERM this user has no permissions to access one of the keys/);
await assert.rejects(app.flushall(), /NOPERM this user has no permissions to run the 'flushall' command/);
assert.deepEqual(await app.multi().set('app:1', 'w').get('app:1').exec(), [[null, 'OK'], [null, 'w']]);
await assert.rejects(app.multi().set('app:1', 'x').get('other').exec(), /EXECABORT/);
assert.equal(await app.get('app:1'), 'w');
app.disconnect();

const everybody = new Redis({ ...at, password: 'right' });
await everybody.connect();
assert.equal(await everybody.acl('WHOAMI'), 'default');
assert.equal(await everybody.get('app:1'), 'w');
everybody.disconnect();

const wrong = new Redis({ ...at, username: 'app', password: 'wrong' });
const errors = [];
wrong.on('error', (error) => errors.push(String(error)));
await wrong.connect().catch((error) => errors.push(String(error)));
await assert.rejects(wrong.get('app:1'));
assert.ok(errors.some((error) => error.includes('WRONGPASS')), errors.join('\n'));
wrong.disconnect();
console.log('ok');
