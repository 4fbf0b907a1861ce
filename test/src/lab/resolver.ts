// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  nameserversOf,
  resolvConfOf,
  resolverCommand,
  withResolvConf,
  writeResolvConf,
} from '../../../src/lab/resolver.ts';
import { type PodPlan, planLab } from '../../../src/lab/topology.ts';
import { runProgram } from '../../../src/lib/program.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

t.test(
  'a pod is told its resolver and search list, and sees them in its place',
  { skip },
  async (t) => {
    const names = { netnsPrefix: 'x-', cgroup: '/x', folder: t.testdir(), keys: '/x' };
    const plan = planLab(names, []);
    mkdirSync(join(names.folder, 'pods/one'), { recursive: true });
    writeResolvConf(plan, { name: 'one', namespace: 'demo' } as PodPlan);
    const file = resolvConfOf(names, 'one');
    const before = readFileSync('/etc/resolv.conf', 'utf8');
    const [program = '', ...args] = withResolvConf(file, ['cat', '/etc/resolv.conf']);
    const { stdout } = await runProgram(program, args);
    t.equal(stdout, readFileSync(file, 'utf8'));
    t.match(stdout, /^search demo\.svc\.cluster\.local svc\.cluster\.local cluster\.local$/m);
    t.match(stdout, new RegExp(`^nameserver ${nameserversOf(plan)[0]}$`, 'm'));
    t.equal(readFileSync('/etc/resolv.conf', 'utf8'), before, "the machine's own is as it was");
  },
);

t.test('the resolver listens at the address that pods are told, and nowhere else', (t) => {
  const plan = planLab({ netnsPrefix: 'x-', cgroup: '/x', folder: '/x', keys: '/x' }, []);
  const command = resolverCommand(plan);
  t.ok(command.includes(`--listen-address=${nameserversOf(plan)[0]}`));
  t.ok(command.includes('--bind-interfaces'));
  t.end();
});
