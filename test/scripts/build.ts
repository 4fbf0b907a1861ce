// SPDX-License-Identifier: Apache-2.0

import { readdirSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { configuredWith, forgetOtherPlace } from '../../scripts/build.ts';

t.test('a build folder counts as configured for its own libraries only', async (t) => {
  const folder = t.testdir({
    made: { 'CMakeCache.txt': 'A:BOOL=ON\nDEPS_PREFIX:PATH=/cache/0123\nB:BOOL=ON\n' },
    empty: {},
  });
  t.equal(configuredWith(`${folder}/made`, '/cache/0123'), true);
  t.equal(configuredWith(`${folder}/made`, '/cache/012'), false);
  t.equal(configuredWith(`${folder}/empty`, '/cache/0123'), false);
  t.equal(configuredWith(`${folder}/absent`, '/cache/0123'), false);
});

t.test(
  'a build folder that was copied is configured anew, with what was built in it',
  async (t) => {
    const folder = t.testdir({
      copied: {
        'CMakeCache.txt': 'A:BOOL=ON\nCMAKE_CACHEFILE_DIR:INTERNAL=/elsewhere/build\n',
        CMakeFiles: { '3.25.1': {} },
        bpf: { 'connect.bpf.o': '' },
      },
      own: {},
      empty: {},
    });
    const cache = `A:BOOL=ON\nCMAKE_CACHEFILE_DIR:INTERNAL=${folder}/own\n`;
    writeFileSync(`${folder}/own/CMakeCache.txt`, cache);
    for (const name of ['copied', 'own', 'empty', 'absent']) {
      forgetOtherPlace(`${folder}/${name}`);
    }
    t.strictSame(readdirSync(`${folder}/copied`), ['bpf']);
    t.strictSame(readdirSync(`${folder}/own`), ['CMakeCache.txt']);
  },
);
