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

t.test('the access log is of all connections, of those that fail, or of none', async (t) => {
  const start = (lines?: 'on' | 'failed' | 'off'): Engine => {
    const which = lines === undefined ? {} : { lines };
    const accessLog = { process: 'ztunnel', opened: false, ...which };
    return new Engine({ workers: 1, accessLog }, () => undefined);
  };
  for (const lines of [undefined, 'on', 'failed', 'off'] as const) {
    start(lines).stop();
  }
  const message = 'accessLog.lines must be on, failed or off';
  for (const lines of ['none', '', 1]) {
    t.throws(() => start(lines as 'off'), { code: 'invalid', message }, `${lines}`);
  }
});
