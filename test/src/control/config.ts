// SPDX-License-Identifier: Apache-2.0
import { CommanderError } from 'commander';
import t from 'tap';
import { listMax, parseControlConfig } from '../../../src/control/config.ts';

const needed = ['--config', 'c', '--state', 's'];
const parse = (...more: string[]) => parseControlConfig([...needed, ...more]);

// Commander says what is wrong on standard error, which is not the subject here.
t.before(() => t.capture(process.stderr, 'write'));

t.test('has defaults for all but the folders', async (t) => {
  t.same(parse(), {
    config: 'c',
    state: 's',
    listen: [{ host: '::', port: 15012 }],
    trustDomain: 'cluster.local',
    ca: undefined,
    san: [],
    logLevel: 'info',
  });
  t.throws(() => parseControlConfig(['--config', 'c']), CommanderError);
  t.throws(() => parseControlConfig(['--state', 's']), CommanderError);
});

t.test('takes several addresses and names', async (t) => {
  t.match(parse('--listen', '127.0.0.1:0', '--listen', '[::1]:15012', '--listen', 'host:1'), {
    listen: [
      { host: '127.0.0.1', port: 0 },
      { host: '::1', port: 15012 },
      { host: 'host', port: 1 },
    ],
  });
  t.same(parse('--san', 'a.example', '--san', 'fd00::1').san, ['a.example', 'fd00::1']);
});

t.test("takes a certificate authority of the user's, certificate and key together", async (t) => {
  const pair = ['--ca-cert', 'c.pem', '--ca-key', 'k.pem'];
  t.same(parse(...pair).ca, { cert: 'c.pem', key: 'k.pem', root: undefined });
  t.same(parse(...pair, '--ca-root', 'r.pem').ca, { cert: 'c.pem', key: 'k.pem', root: 'r.pem' });
  for (const part of [pair.slice(0, 2), pair.slice(2), ['--ca-root', 'r.pem']]) {
    t.throws(() => parse(...part), CommanderError);
  }
});

t.test('refuses what cannot be meant', async (t) => {
  const wrong = [
    ['--listen', '127.0.0.1'],
    ['--listen', ':15012'],
    ['--listen', '::1:15012'],
    ['--listen', '[10.0.0.1]:1'],
    ['--listen', '127.0.0.1:65536'],
    ['--trust-domain', 'Upper.Case'],
    ['--trust-domain', 'a/b'],
    ['--san', 'a b'],
    ['--log-level', 'loud'],
    ['--colour'],
    ['extra'],
  ];
  for (const args of wrong) {
    t.throws(() => parse(...args), CommanderError, args.join(' '));
  }
});

t.test('limits how often a flag may be given', async (t) => {
  const names = (count: number) =>
    Array.from({ length: count }, (_, i) => ['--san', `n${i}`]).flat();
  t.equal(parse(...names(listMax)).san.length, listMax);
  t.throws(() => parse(...names(listMax + 1)), CommanderError);
});
