// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { handshakeTable } from '../../../../src/bench/handshakes/table.ts';

const spread = (median: number) => ({ n: 2, median, min: median / 2, max: median * 2 });
const micros = { off: spread(400), scalar: spread(410) };

t.test('a row for each way, with what is known of it', async (t) => {
  const inLanes = { gain: spread(2.2), p99Ratio: spread(0.5) };
  const table = handshakeTable({
    ways: [
      {
        ...{ leaves: 'verified', atOnce: 8, p99Micros: {} },
        ...{ ...inLanes, lanesFilled: spread(7.6), inSixLanes: spread(0.9) },
        micros: { ...micros, avx512: spread(180) },
      },
      { leaves: 'known', atOnce: 1, micros, p99Micros: {} },
    ],
    openssl: { library: 'OpenSSL 3', micros: spread(1500), toEight: spread(8) },
  });
  const [, , first, second, , last] = table.split('\n');
  t.equal(
    first,
    '| each verified | 8 | 400 (200..800) | 410 (205..820) | 180 (90..360) | 2.20 (1.10..4.40) | 0.50 (0.25..1.00) | 7.6, 90 % |',
  );
  t.equal(second, '| known before | 1 | 400 (200..800) | 410 (205..820) |  |  |  |  |');
  t.equal(
    last,
    'OpenSSL 3: 1500 (750..3000) us, 8.00 (4.00..16.00) times eight at a time in lanes',
  );
});

t.test('without OpenSSL there is no line of it', async (t) => {
  t.equal(handshakeTable({ ways: [] }).split('\n').length, 3);
});
