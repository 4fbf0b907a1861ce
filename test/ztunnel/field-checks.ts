// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  check,
  checkAddress,
  checkName,
  checkPort,
  nameCharactersMax,
} from '../../ztunnel/field-checks.ts';

t.test('a check that fails throws `invalid` with its sentence', async (t) => {
  t.doesNotThrow(() => check(true, 'fine'));
  t.throws(() => check(false, 'wrong'), { code: 'invalid', message: 'wrong' });
});

t.test('addresses have 4 or 16 bytes', async (t) => {
  for (const bytes of [4, 16]) {
    t.doesNotThrow(() => checkAddress(new Uint8Array(bytes)));
  }
  for (const bytes of [0, 3, 5, 15, 17]) {
    t.throws(() => checkAddress(new Uint8Array(bytes)), { code: 'invalid' });
  }
});

t.test('ports are 1 to 65535', async (t) => {
  for (const port of [1, 65_535]) {
    t.doesNotThrow(() => checkPort(port));
  }
  for (const port of [0, 65_536, -1]) {
    t.throws(() => checkPort(port), { code: 'invalid' });
  }
});

t.test('names are there, short enough and free of control characters', async (t) => {
  t.doesNotThrow(() => checkName('a'.repeat(nameCharactersMax), 'name'));
  for (const name of ['', 'a'.repeat(nameCharactersMax + 1), 'a\nb', 'a\0']) {
    t.throws(() => checkName(name, 'name'), { code: 'invalid' });
  }
});
