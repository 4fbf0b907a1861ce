// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import t from 'tap';
import { MeshError } from '../../../src/lib/error.ts';

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}

t.test('an error of ours stays the very one', async (t) => {
  const error = new MeshError('limit', 'too many', { cause: 1 });
  t.equal(MeshError.from(error), error);
  t.match(error, { name: 'MeshError', code: 'limit', message: 'too many', cause: 1 });
  t.ok(error instanceof Error);
});

t.test('what the system refuses gets the code that says why', async (t) => {
  const real = thrownBy(() => readFileSync('/no/such/file'));
  const error = MeshError.from(real);
  t.equal(error.code, 'unavailable');
  t.equal(error.cause, real);
  t.match(error.message, /ENOENT/);
  const cases = {
    ECONNREFUSED: 'unavailable',
    ECONNRESET: 'unavailable',
    EHOSTUNREACH: 'unavailable',
    ENETUNREACH: 'unavailable',
    EPIPE: 'unavailable',
    ETIMEDOUT: 'timeout',
    EACCES: 'denied',
    EPERM: 'denied',
    EADDRINUSE: 'conflict',
    EEXIST: 'conflict',
    EIO: 'internal',
  };
  for (const [code, expected] of Object.entries(cases)) {
    t.equal(MeshError.from(Object.assign(new Error('x'), { code })).code, expected, code);
  }
});

t.test('an error from outside keeps one of our codes, and no other', async (t) => {
  const from = (code: unknown) => MeshError.from(Object.assign(new Error('x'), { code })).code;
  t.equal(from('denied'), 'denied', 'as the engine sets it');
  for (const code of ['toString', '__proto__', 'constructor', '', 7, undefined]) {
    t.equal(from(code), 'internal', String(code));
  }
});

t.test('whatever else is thrown becomes an internal error with its text', async (t) => {
  t.match(MeshError.from('words'), { code: 'internal', message: 'words', cause: 'words' });
  t.match(MeshError.from(undefined), { code: 'internal', message: 'undefined' });
});
