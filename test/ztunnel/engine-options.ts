// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { engineSettingNames, parseEngineSettings } from '../../ztunnel/engine-options.ts';

t.test('nothing set leaves everything to the engine', async (t) => {
  t.strictSame(parseEngineSettings([]), { ok: true, value: {} });
});

t.test('the last of two settings holds, and limits stand together', async (t) => {
  const texts = ['tunnelIdleMs=5', 'tunnelIdleMs=0', 'appCongestion=', 'limits.tunnelsPerPeer=2'];
  t.strictSame(parseEngineSettings([...texts, 'limits.streamsPerTunnel=1']), {
    ok: true,
    value: {
      tunnelIdleMs: 0,
      appCongestion: '',
      limits: { tunnelsPerPeer: 2, streamsPerTunnel: 1 },
    },
  });
});

t.test('what is no setting, or no value for it, is refused by name', async (t) => {
  for (const [text, message] of [
    ['warp=9', /--engine warp=9: is none of mark, /],
    ['tunnelIdleMs', /tunnelIdleMs: is none of/],
    ['workers=2', /is none of/],
    ['constructor=1', /is none of/],
    ['tunnelIdleMs=-1', /--engine tunnelIdleMs is not a whole number/],
    ['tunnelIdleMs=', /not a whole number/],
    ['limits.streamsPerTunnel=many', /--engine limits\.streamsPerTunnel is not a whole number/],
  ] as const) {
    const parsed = parseEngineSettings([text]);
    t.match(parsed, { ok: false, error: { code: 'invalid', message } }, text);
  }
});

t.test('every setting can be named', async (t) => {
  const words: Readonly<Record<string, string>> = {
    outboundPolicy: 'registryOnly',
    sameNode: 'direct',
    tlsRow: 'library',
    h2Row: 'nghttp2',
    crypto: 'scalar',
  };
  for (const name of engineSettingNames) {
    t.match(parseEngineSettings([`${name}=${words[name] ?? 4096}`]), { ok: true }, name);
  }
});
