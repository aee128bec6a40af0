import { describe, expect, it } from 'vitest';
import { BoundedQueue } from '../../../src/restoration/BoundedQueue.js';

describe('a bounded queue', () => {
  it('hands items over in order and ends after the last', async () => {
    const queue = new BoundedQueue<number>(2, () => undefined);
    const produce = async () => {
      for (let item = 0; item < 5; item++) await queue.push(item);
      queue.end();
    };
    const seen: number[] = [];
    const consume = async () => {
      for (let item = await queue.next(); item !== undefined; item = await queue.next()) seen.push(item);
    };
    await Promise.all([produce(), consume()]);
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  it('lets the producer wait while it is full', async () => {
    const queue = new BoundedQueue<number>(1, () => undefined);
    await queue.push(1);
    let pushed = false;
    const second = queue.push(2).then(() => {
      pushed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(pushed).toBe(false);
    expect(await queue.next()).toBe(1);
    await second;
    expect(await queue.next()).toBe(2);
  });

  it('frees what is queued when it fails, and fails both sides', async () => {
    const freed: number[] = [];
    const queue = new BoundedQueue<number>(2, (item) => freed.push(item));
    await queue.push(1);
    queue.fail(new Error('stopped'));
    await expect(queue.next()).rejects.toThrow('stopped');
    await expect(queue.push(2)).rejects.toThrow('stopped');
    expect(freed).toEqual([1, 2]);
  });
});
