// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { endOf, initOf, saidOn } from '../../../scripts/kernels/machine.ts';
import { run } from '../../../scripts/steps.ts';

t.test('the first process loads modules in their order and runs the program', async (t) => {
  const init = initOf(['inet_diag.ko', 'tcp_diag.ko'], 'kernel_unit');
  t.match(init, /^#!\/bin\/busybox sh\n/);
  t.match(init, /inet_diag\.ko\n.*tcp_diag\.ko\n\/bin\/kernel_unit\n.*weft-exit/s);
  await t.resolves(run('sh', ['-n'], { input: init }));
});

t.test('what firmware and terminals add is left out', async (t) => {
  const console = '\u001bc\u001b[?7l\u001b[2J\u001b[0mBooting\r\nTAP version 14\r\n1..0\r\n';
  t.equal(saidOn(console), 'Booting\nTAP version 14\n1..0\n');
});

t.test('a program ended well only when the machine says so', async (t) => {
  t.equal(endOf('1..0\nweft-exit 0\n', undefined).failure, undefined);
  t.equal(endOf('1..0\nweft-exit 1\n', undefined).failure, 'exit code 1');
  t.match(endOf('Kernel panic\n', undefined).failure, /ended before the program/);
  t.equal(endOf('weft-exit 0\n', 'not within 300 s').failure, 'not within 300 s');
});

t.test('a kernel that complains has failed, and what it says is kept', async (t) => {
  const said = 'weft-exit 0\n# kernel: [ 2.1] WARNING: CPU: 0 PID: 1 at net/core\n';
  const { failure, errors } = endOf(said, undefined);
  t.equal(failure, 'the kernel has a bug');
  t.match(errors, /net\/core/);
});
