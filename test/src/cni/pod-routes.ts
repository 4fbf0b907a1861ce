// SPDX-License-Identifier: Apache-2.0
// Routes and settings of a real namespace. Needs root.
import t from 'tap';
import {
  addReturnRoutes,
  inside,
  readMarkSettings,
  reflectMarks,
  removeReturnRoutes,
} from '../../../src/cni/pod-routes.ts';
import { mustRun } from '../../../src/lib/program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const none = {
  'ipv4/tcp_fwmark_accept': '0',
  'ipv4/fwmark_reflect': '0',
  'ipv6/fwmark_reflect': '0',
};

t.test('what is set is put back, but for what others have set', { skip }, async (t) => {
  const pod = await makeNetNamespace();
  t.teardown(() => pod.close());
  const run = (...command: string[]) => mustRun('nsenter', [...inside(pod.path), ...command]);
  await run('ip', 'link', 'set', 'lo', 'up');
  const rules = await run('ip', 'rule');
  t.same(await readMarkSettings(pod.path), none);
  const set = async () => {
    t.ok(await addReturnRoutes(pod.path));
    await reflectMarks(pod.path);
    const now = await readMarkSettings(pod.path);
    t.same(Object.values(now), ['1', '1', '1']);
    t.not(await run('ip', 'rule'), rules);
  };
  await set();
  await removeReturnRoutes(pod.path, none);
  t.same(await readMarkSettings(pod.path), none);
  t.equal(await run('ip', 'rule'), rules);
  await removeReturnRoutes(pod.path, none);

  await run('sysctl', '-qw', 'net.ipv4.fwmark_reflect=1');
  const former = await readMarkSettings(pod.path);
  await set();
  await removeReturnRoutes(pod.path, former);
  t.same(
    await readMarkSettings(pod.path),
    { ...none, 'ipv4/fwmark_reflect': '1' },
    'its own stays',
  );

  await set();
  await run('sysctl', '-qw', 'net.ipv4.fwmark_reflect=0', 'net.ipv4.tcp_fwmark_accept=0');
  await removeReturnRoutes(pod.path, { ...none, 'ipv4/tcp_fwmark_accept': '7' });
  t.same(await readMarkSettings(pod.path), none, 'what was changed since stays');

  await set();
  await removeReturnRoutes(pod.path);
  t.equal(
    (await readMarkSettings(pod.path))['ipv4/fwmark_reflect'],
    '1',
    'what it was is not known',
  );
});
