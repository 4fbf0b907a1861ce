// SPDX-License-Identifier: Apache-2.0
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MeshFollower } from '../../../src/control/mesh-follower.ts';
import { createLog } from '../../../src/lib/log.ts';
import { AdsServer } from '../../../src/xds/server.ts';

const node = (name: string) => `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\n`;
const service = (name: string) =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: istio-system}\nspec: {ports: [{port: 80}]}\n`;
const denyList = (name: string) =>
  `apiVersion: weft.dev/v1alpha1\nkind: DenyList\nmetadata: {name: ${name}}\nspec: {serials: ["a1"]}\n`;

/** Follows a folder; `events` has publications and deny lists in order. */
async function follow(t: Test, files: Record<string, string>) {
  const folder = t.testdir(files);
  const events: string[] = [];
  const lines: string[] = [];
  const waiters: (() => void)[] = [];
  const wake = () => {
    for (const waiter of waiters.splice(0)) {
      waiter();
    }
  };
  const log = createLog('test', 'info', {
    write: (line) => {
      lines.push(line);
      wake();
    },
  });
  const ads = new AdsServer({ log, callerOf: () => undefined });
  ads.publish = () => {
    events.push('publish');
    wake();
    return events.length;
  };
  const follower = await MeshFollower.start(folder, 'cluster.local', ads, log, (lists) =>
    events.push(`deny ${lists.length}`),
  );
  t.teardown(() => follower.stop());
  const until = async (holds: () => boolean) => {
    while (!holds()) {
      await new Promise<void>((resolve) => waiters.push(resolve));
    }
  };
  const replace = async (name: string, text: string) => {
    await writeFile(join(folder, 'tmp'), text);
    await rename(join(folder, 'tmp'), join(folder, name));
  };
  return { events, lines, until, replace };
}

t.test('a folder with errors is not followed at all', async (t) => {
  const starting = follow(t, { 'x.yaml': 'kind: X\n' });
  await t.rejects(starting, { code: 'invalid', message: /x.yaml:1: kind/ });
});

t.test('deny lists go out before the change that they come with', async (t) => {
  const { events, until, replace } = await follow(t, { 'a.yaml': node('a') });
  t.same(events, ['deny 0', 'publish']);
  await replace('d.yaml', denyList('d'));
  await until(() => events.length === 4);
  await replace('a.yaml', node('b'));
  await until(() => events.length === 5);
  t.same(events.slice(2), ['deny 1', 'publish', 'publish'], 'and not with others');
});

t.test('each problem is told once, and again when it comes again', async (t) => {
  const { lines, until, replace } = await follow(t, { 'a.yaml': node('a') });
  const told = () => lines.filter((line) => line.includes('not a known kind')).length;
  const published = (services: number) => () =>
    lines.some((line) => line.includes(`"services":${services}`));
  await replace('x.yaml', 'kind: X\n');
  await until(() => told() === 1);
  await replace('a.yaml', service('a'));
  await until(published(1));
  t.equal(told(), 1);
  await replace('x.yaml', service('x'));
  await until(published(2));
  await replace('x.yaml', 'kind: X\n');
  await until(() => told() === 2);
});
