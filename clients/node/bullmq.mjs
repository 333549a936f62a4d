// BullMQ runs real jobs to the end: `bullmq.mjs HOST PORT`. Its keys have one tag, so the pool may have many shards.

import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';
import { expect, range, waitUntil } from './expect.mjs';

const connection = { host: process.argv[2], port: Number(process.argv[3]), maxRetriesPerRequest: null };
const prefix = '{bull}'; // every key of every queue begins with it
const jobs = 60;

async function main() {
  const queue = new Queue('sums', { connection, prefix });
  queue.setMaxListeners(0); // each job that is waited for adds one
  const events = new QueueEvents('sums', { connection, prefix });
  await events.waitUntilReady();
  const attempts = new Map();
  const worker = new Worker('sums', async (job) => {
    attempts.set(job.name, (attempts.get(job.name) ?? 0) + 1);
    if (job.name === 'fails') throw new Error('as told');
    if (job.name === 'fails once' && attempts.get(job.name) === 1) throw new Error('once');
    if (job.name === 'parent') {
      const values = Object.values(await job.getChildrenValues());
      return values.reduce((sum, value) => sum + value, 0);
    }
    await job.updateProgress(50);
    return job.data.one + job.data.other;
  }, { connection, prefix, concurrency: 4 });
  await worker.waitUntilReady();

  const added = await queue.addBulk(range(jobs).map((i) => ({ name: 'add', data: { one: i, other: 1 } })));
  const sums = await Promise.all(added.map((job) => job.waitUntilFinished(events, 30_000)));
  expect('results', sums, range(jobs).map((i) => i + 1));

  const later = await queue.add('add', { one: 1, other: 2 }, { delay: 100 });
  expect('a delayed job', await later.waitUntilFinished(events, 30_000), 3);
  const urgent = await queue.add('add', { one: 2, other: 2 }, { priority: 1 });
  expect('a job with a priority', await urgent.waitUntilFinished(events, 30_000), 4);
  const again = await queue.add('fails once', { one: 0, other: 0 }, { attempts: 3, backoff: { type: 'fixed', delay: 20 } });
  expect('a job that is tried again', await again.waitUntilFinished(events, 30_000), 0);
  const failing = await queue.add('fails', {});
  const outcome = await Promise.allSettled([failing.waitUntilFinished(events, 30_000)]);
  expect('a job that fails', outcome[0].reason?.message, 'as told');

  const flow = new FlowProducer({ connection, prefix });
  const tree = await flow.add({
    name: 'parent', queueName: 'sums', data: {},
    children: range(5).map((i) => ({ name: 'add', queueName: 'sums', data: { one: i, other: i } })),
  });
  expect('a flow of jobs', await tree.job.waitUntilFinished(events, 30_000), 20);

  const counts = () => queue.getJobCounts('completed', 'failed', 'waiting', 'active', 'delayed');
  await waitUntil('all are done', async () => (await counts()).active === 0);
  expect('counts', await counts(), { completed: jobs + 9, failed: 1, waiting: 0, active: 0, delayed: 0 });
  await queue.obliterate({ force: true });
  expect('nothing left', await queue.getJobCounts('completed', 'failed'), { completed: 0, failed: 0 });
  await Promise.all([worker.close(), events.close(), flow.close(), queue.close()]);
  console.log('bullmq: all jobs ran to the end');
}

await main();
