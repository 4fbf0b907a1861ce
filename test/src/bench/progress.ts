// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { barText, clockText, Progress } from '../../../src/bench/progress.ts';

t.test('the time left follows from the steps so far', async (t) => {
  t.equal(clockText(0), '0:00');
  t.equal(clockText(247), '4:07');
  t.match(barText(0, 8, 0), /^\[\.{30}\] 0 of 8$/);
  t.match(barText(2, 8, 20), /^\[#{8}\.{22}\] 2 of 8, 1:00 left$/);
  t.match(barText(8, 8, 80), /^\[#{30}\] 8 of 8, 0:00 left$/);
});

function drawn(isTTY: boolean): string {
  let out = '';
  const progress = new Progress({
    isTTY,
    write: (text: string | Uint8Array) => {
      out += String(text);
      return true;
    },
  });
  progress.expect(2);
  progress.note('first');
  progress.done(1);
  progress.end();
  return out;
}

t.test('a terminal has a bar below the lines', async (t) => {
  const out = drawn(true);
  t.match(out, '\r\x1b[K  first\n');
  t.match(out, '1 of 2');
  t.ok(out.endsWith('\r\x1b[K'), 'the bar is taken away');
});

t.test('what is no terminal gets lines alone', async (t) => {
  t.equal(drawn(false), '  first\n');
});
