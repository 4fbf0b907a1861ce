// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { parseConfig, workersMax } from '../../ztunnel/config.ts';

const flags = {
  '--node': 'a',
  '--control': 'control.mesh:15012',
  '--state': '/run/weft',
  '--zds': '/run/zds.sock',
};

function argv(change: Record<string, string> = {}): string[] {
  return Object.entries({ ...flags, ...change }).flat();
}

t.test('the flags that have to be there are enough', async (t) => {
  t.match(parseConfig(argv()), {
    ok: true,
    value: {
      node: 'a',
      control: 'control.mesh:15012',
      joinTokenFile: undefined,
      stateDir: '/run/weft',
      keysDir: '/run/weft/ztunnel',
      stateMaxAgeMs: 86_400_000,
      zdsPath: '/run/zds.sock',
      metrics: { host: '::', port: 15_020 },
      readiness: { host: '::', port: 15_021 },
      engine: {},
      logLevel: 'info',
      accessLog: 'on',
    },
  });
});

t.test('all others can be set', async (t) => {
  const parsed = parseConfig(
    argv({
      '--control': '[fd77::1]:15012',
      '--join-token': '/run/token',
      '--metrics': '127.0.0.1:0',
      '--readiness': '[::1]:8080',
      '--workers': '2',
      '--log-level': 'debug',
      '--access-log': 'failed',
    }),
  );
  t.match(parsed, {
    ok: true,
    value: {
      control: '[fd77::1]:15012',
      joinTokenFile: '/run/token',
      metrics: { host: '127.0.0.1', port: 0 },
      readiness: { host: '::1', port: 8080 },
      workers: 2,
      logLevel: 'debug',
      accessLog: 'failed',
    },
  });
});

t.test('an age is a number with its unit', async (t) => {
  for (const [text, ms] of [
    ['90s', 90_000],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
  ] as const) {
    const parsed = parseConfig(argv({ '--state-max-age': text, '--keys': '/dev/shm/k' }));
    t.match(parsed, { ok: true, value: { stateMaxAgeMs: ms, keysDir: '/dev/shm/k' } });
  }
  for (const text of ['', '5', '0s', '-1h', '1.5h', '1w', '1000000s', ' 5m']) {
    t.match(parseConfig(argv({ '--state-max-age': text })), {
      ok: false,
      error: { message: /--state-max-age/ },
    });
  }
});

t.test('settings of the engine are given by name', async (t) => {
  const more = ['--engine', 'tunnelIdleMs=0', '--engine', 'limits.streamsPerTunnel=1'];
  t.match(parseConfig([...argv(), ...more]), {
    ok: true,
    value: { engine: { tunnelIdleMs: 0, limits: { streamsPerTunnel: 1 } } },
  });
});

const wrong: readonly [string, string, RegExp][] = [
  ['--node', 'Node A', /--node is not a node name/],
  ['--node', 'a/b', /--node/],
  ['--engine', 'warp=9', /--engine warp=9: is none of mark, /],
  ['--control', 'nowhere', /--control nowhere is not HOST:PORT/],
  ['--control', 'x:0', /--control/],
  ['--metrics', '15020', /--metrics is not ADDR:PORT/],
  ['--readiness', '[::]:65536', /--readiness port is over 65535/],
  ['--workers', '0', /--workers/],
  ['--workers', String(workersMax + 1), /--workers/],
  ['--workers', 'two', /--workers/],
  ['--log-level', 'loud', /--log-level/],
  ['--access-log', 'some', /--access-log/],
  ['--zds', '/'.repeat(108), /--zds is too long/],
  ['--colour', 'red', /unknown option '--colour'/],
];

for (const [flag, value, message] of wrong) {
  t.test(`refuses ${flag} ${value.slice(0, 20)}`, async (t) => {
    t.match(parseConfig(argv({ [flag]: value })), {
      ok: false,
      error: { code: 'invalid', message },
    });
  });
}

t.test('a flag that is missing is named', async (t) => {
  const message = /required option '--node <name>'/;
  t.match(parseConfig([]), { ok: false, error: { code: 'invalid', message } });
});
