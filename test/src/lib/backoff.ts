// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { Backoff, renewalDelayMs } from '../../../src/lib/backoff.ts';

const middle = (): number => 0.5;

t.test('each wait doubles up to the maximum, and a reset starts over', async (t) => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 50, jitter: 0.2 }, middle);
  t.same(
    [1, 2, 3, 4, 5].map(() => backoff.next()),
    [10, 20, 40, 50, 50],
  );
  backoff.reset();
  t.equal(backoff.next(), 10);
});

t.test('jitter moves a wait by its share either way, never past the maximum', async (t) => {
  const options = { firstMs: 100, maxMs: 100, jitter: 0.2 };
  t.equal(new Backoff(options, () => 0).next(), 80);
  t.equal(new Backoff(options, () => 1).next(), 100);
  t.equal(new Backoff({ ...options, maxMs: 1000 }, () => 1).next(), 120);
});

t.test('a certificate is renewed at half of its life, give or take a tenth', async (t) => {
  const life = { notBefore: new Date(0), notAfter: new Date(1000) };
  t.equal(renewalDelayMs(life, 0, middle), 500);
  t.equal(
    renewalDelayMs(life, 100, () => 0),
    300,
  );
  t.equal(
    renewalDelayMs(life, 0, () => 1),
    600,
  );
  t.equal(renewalDelayMs(life, 900, middle), 0, 'an overdue one at once');
});
