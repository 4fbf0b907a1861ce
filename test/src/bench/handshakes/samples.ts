// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  figuresOf,
  type HandshakeSample,
  handshakesIn,
  opensslIn,
} from '../../../../src/bench/handshakes/samples.ts';

const sample = (mode: HandshakeSample['mode'], micros: number, more = {}): HandshakeSample => {
  const times = { micros, p50Micros: micros, p99Micros: 2 * micros };
  return {
    ...{ leaves: 'verified', atOnce: 8, mode, ...times, lanesFilled: 0, inSixLanes: 0 },
    ...more,
  };
};

const filled = { lanesFilled: 7.5, inSixLanes: 0.9 };
const rounds = [
  {
    openssl: { library: 'OpenSSL 3', micros: 1500 },
    handshakes: [
      ...[sample('off', 400), sample('scalar', 410), sample('avx512', 200, filled)],
      ...[sample('off', 300, { leaves: 'known' }), sample('scalar', 310, { leaves: 'known' })],
    ],
  },
  {
    openssl: { library: 'OpenSSL 3', micros: 1800 },
    handshakes: [
      ...[sample('off', 420), sample('scalar', 450), sample('avx512', 180, filled)],
      ...[sample('off', 320, { leaves: 'known' }), sample('scalar', 330, { leaves: 'known' })],
    ],
  },
];

t.test('each way is compared with itself one after the other, within a round', async (t) => {
  const { ways } = figuresOf(rounds);
  t.equal(ways.length, 2);
  t.match(ways[0], {
    ...{ leaves: 'verified', atOnce: 8 },
    micros: { off: { median: 410 }, scalar: { median: 430 }, avx512: { min: 180, max: 200 } },
    p99Micros: { avx512: { max: 400 } },
    gain: { n: 2, min: 2.05, max: 2.5 },
    p99Ratio: { min: 0.4, max: 200 / 410 },
    lanesFilled: { median: 7.5 },
    inSixLanes: { median: 0.9 },
  });
});

t.test('where nothing was computed in lanes nothing is said of them', async (t) => {
  const [, known] = figuresOf(rounds).ways;
  t.match(known, { leaves: 'known', micros: { scalar: { min: 310 } } });
  t.same(Object.keys(known ?? {}), ['leaves', 'atOnce', 'micros', 'p99Micros']);
});

t.test('OpenSSL is compared with eight at a time in lanes, where there is either', async (t) => {
  t.match(figuresOf(rounds).openssl, {
    ...{ library: 'OpenSSL 3', micros: { n: 2, min: 1500 } },
    toEight: { min: 7.5, max: 10 },
  });
  const scalar = rounds.map(({ openssl, handshakes }) => {
    return { openssl, handshakes: handshakes.filter(({ mode }) => mode !== 'avx512') };
  });
  t.notOk('toEight' in (figuresOf(scalar).openssl ?? {}));
  t.notOk('openssl' in figuresOf(rounds.map(({ handshakes }) => ({ handshakes }))));
});

t.test('what is no sample is refused', async (t) => {
  const [first] = handshakesIn(JSON.stringify(sample('off', 400)));
  t.same(first, sample('off', 400));
  t.same(opensslIn('{"library":"x","round":0,"micros":3}\n'), { library: 'x', micros: 3 });
  for (const wrong of ['', 'weft', '{}', JSON.stringify(sample('off', -1))]) {
    t.throws(() => handshakesIn(wrong), { code: 'invalid', message: /bench_handshakes/ }, wrong);
    t.throws(() => opensslIn(wrong), { code: 'invalid', message: /bench_openssl/ }, wrong);
  }
});
