// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { Engine } from '../../../native/index.ts';

t.test('busy polling takes 0 to 1,000 microseconds, and nothing else', async (t) => {
  for (const busyPollMicros of [0, 1, 50, 1000]) {
    new Engine({ workers: 1, busyPollMicros }, () => undefined).stop();
  }
  for (const busyPollMicros of [-1, 1001, Number.NaN, '50' as unknown as number]) {
    t.throws(
      () => new Engine({ workers: 1, busyPollMicros }, () => undefined),
      { code: 'invalid', message: 'busyPollMicros must be a number from 0 to 1000' },
      `${busyPollMicros}`,
    );
  }
});
