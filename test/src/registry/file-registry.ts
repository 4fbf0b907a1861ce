// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MeshError } from '../../../src/lib/error.ts';
import { filesMax, mayBeOnTheWay } from '../../../src/registry/disk.ts';
import { FileRegistry, type RegistryState } from '../../../src/registry/file-registry.ts';
import { valuesOf } from '../../support/mesh-objects.ts';

const base = `
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: v1
kind: Node
metadata: {name: a}
`;

const podText = (name: string, ip: string, more = '') => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: demo}
spec: {nodeName: a${more}}
status: {podIP: ${ip}}
`;

/** A registry over a folder with these files, and its states as they come. */
async function openRegistry(t: Test, files: Record<string, string>) {
  const folder = t.testdir(files);
  const states: RegistryState[] = [];
  // The folder is removed at the end of a test, before the registry is closed.
  const troubles: MeshError[] = [];
  const waiters: (() => void)[] = [];
  const registry = await FileRegistry.open(folder, {
    onState: (state) => {
      states.push(state);
      for (const wake of waiters.splice(0)) {
        wake();
      }
    },
    onTrouble: (error) => troubles.push(error),
  });
  t.teardown(() => registry.close());
  // The first state, from now on, for which `holds`.
  const until = async (holds: (state: RegistryState) => boolean) => {
    while (!holds(registry.state)) {
      await new Promise<void>((resolve) => waiters.push(resolve));
    }
    return registry.state;
  };
  return { folder, registry, states, until, file: (name: string) => join(folder, name) };
}

const podsOf = ({ objects }: RegistryState) =>
  valuesOf('Pod', [...objects]).sort((a, b) => (a.name < b.name ? -1 : 1));
const podNames = (state: RegistryState) =>
  podsOf(state)
    .map(({ name }) => name)
    .sort();

t.test('reads every YAML file of the folder and nothing else', async (t) => {
  const { registry } = await openRegistry(t, {
    'base.yaml': base,
    'pod.yml': podText('x', '10.0.0.1'),
    'notes.txt': 'not: [a manifest',
    '.hidden.yaml': 'not: [a manifest',
  });
  t.same(podNames(registry.state), ['x']);
  t.same(registry.state.problems, []);
});

t.test('fails to open a folder that is not there', async (t) => {
  const options = { onState: () => {}, onTrouble: () => {} };
  await t.rejects(FileRegistry.open(join(t.testdir(), 'none'), options), MeshError);
});

t.test('reports a file that was added, replaced, edited in place and removed', async (t) => {
  const { file, until } = await openRegistry(t, { 'base.yaml': base });
  await writeFile(file('pod.yaml'), podText('x', '10.0.0.1'));
  await until((state) => podNames(state).includes('x'));
  await writeFile(file('tmp'), podText('y', '10.0.0.1'));
  await rename(file('tmp'), file('pod.yaml'));
  t.same(podNames(await until((state) => podNames(state).includes('y'))), ['y']);
  await writeFile(file('pod.yaml'), podText('y', '10.0.0.2'));
  await until((state) => podsOf(state)[0]?.addresses[0]?.[3] === 2);
  await rm(file('pod.yaml'));
  await until((state) => podNames(state).length === 0);
});

t.test('never shows the moment in which a file is rewritten in place', async (t) => {
  const { file, states, until } = await openRegistry(t, {
    'base.yaml': base,
    'pod.yaml': podText('x', '10.0.0.1'),
  });
  for (const last of [2, 3, 4, 5, 6]) {
    await writeFile(file('pod.yaml'), '');
    await writeFile(file('pod.yaml'), podText('x', `10.0.0.${last}`));
    await until((state) => podsOf(state)[0]?.addresses[0]?.[3] === last);
  }
  t.ok(
    states.every((state) => podNames(state).length === 1),
    'the pod was there all the time',
  );
});

t.test('keeps the last good version of a file that went bad, and follows the others', async (t) => {
  const { file, until } = await openRegistry(t, {
    'base.yaml': base,
    'x.yaml': podText('x', '10.0.0.1'),
  });
  await writeFile(file('x.yaml'), podText('x', '10.0.0.9', ', nodename: b'));
  const bad = await until((state) => state.problems.length > 0);
  t.same(podNames(bad), ['x']);
  t.same(podsOf(bad)[0]?.addresses, [Uint8Array.of(10, 0, 0, 1)]);
  t.match(bad.problems, [
    {
      severity: 'error',
      file: 'x.yaml',
      line: 5,
      field: 'spec.nodename',
      message: 'unknown field',
    },
  ]);
  await writeFile(file('y.yaml'), podText('y', '10.0.0.2'));
  t.same(podNames(await until((state) => podNames(state).length === 2)), ['x', 'y']);
  await writeFile(file('x.yaml'), podText('x', '10.0.0.9'));
  const fixed = await until((state) => state.problems.length === 0);
  t.same(podsOf(fixed)[0]?.addresses, [Uint8Array.of(10, 0, 0, 9)]);
});

t.test('says of a pipe that it is no file, and goes on with the others', async (t) => {
  const { until, file, registry } = await openRegistry(t, { 'base.yaml': base });
  // Reading it would wait for a writer for ever.
  t.equal(spawnSync('mkfifo', [file('pipe.yaml')]).status, 0);
  await writeFile(file('pod.yaml'), podText('x', '10.0.0.1'));
  const state = await until((each) => podNames(each).length === 1 && each.problems.length === 1);
  t.match(state.problems, [{ file: 'pipe.yaml', message: 'not a regular file' }]);
  await rm(file('pipe.yaml'));
  await until((each) => each.problems.length === 0);
  t.strictSame(podNames(registry.state), ['x']);
});

t.test('takes a file up when what it refers to comes later', async (t) => {
  const { file, until } = await openRegistry(t, { 'ns.yaml': base.split('---')[0] ?? '' });
  await writeFile(file('pod.yaml'), podText('x', '10.0.0.1'));
  const early = await until((state) => state.problems.length > 0);
  t.match(early.problems, [{ file: 'pod.yaml', field: 'spec.nodeName' }]);
  t.same(podNames(early), []);
  await writeFile(file('zz-node.yaml'), base.split('---')[1] ?? '');
  const late = await until((state) => podNames(state).length === 1);
  t.same(late.problems, []);
});

t.test('tells what changed, and leaves the other objects of a file as they are', async (t) => {
  const pods = (second: string) => ['', podText('x', '10.0.0.1'), podText('y', second)].join('---');
  const { file, states, registry, until } = await openRegistry(t, {
    'base.yaml': base,
    'pods.yaml': pods('10.0.0.2'),
  });
  const x = podsOf(registry.state)[0];
  t.equal(registry.state.change.added.length, 4, 'from nothing, everything');
  await writeFile(file('next'), `# moved\n${pods('10.0.0.3')}`);
  await rename(file('next'), file('pods.yaml'));
  await until((state) => podsOf(state)[1]?.addresses[0]?.[3] === 3);
  const { change } = states.at(-1) ?? registry.state;
  t.match(change, {
    removed: [{ kind: 'Pod', value: { name: 'y' } }],
    added: [{ kind: 'Pod', value: { name: 'y' } }],
  });
  t.equal(podsOf(registry.state)[0], x, 'the same object');
});

t.test('a rescan is for what may lead to the manifests, not for files written aside', async (t) => {
  const { file, until, registry, folder } = await openRegistry(t, { 'base.yaml': base });
  await mkdir(file('v1'));
  await mkdir(file('v2'));
  await writeFile(join(file('v1'), 'pod.yaml'), podText('x', '10.0.0.1'));
  await writeFile(join(file('v2'), 'pod.yaml'), podText('x', '10.0.0.2'));
  await symlink('v1', file('current'));
  await symlink('current/pod.yaml', file('pod.yaml'));
  await until((state) => podNames(state).length === 1);
  await symlink('v2', file('next'));
  await rename(file('next'), file('current'));
  await until((state) => podsOf(state)[0]?.addresses[0]?.[3] === 2);
  t.equal(await mayBeOnTheWay(folder, 'current'), true);
  t.equal(await mayBeOnTheWay(folder, 'base.yaml'), false);
  t.equal(await mayBeOnTheWay(folder, 'none'), false);
  t.same(registry.state.problems, []);
});

t.test('warns of what is in force alone', async (t) => {
  const lonely = `
apiVersion: v1
kind: Service
metadata: {name: s, namespace: demo}
spec: {selector: {app: x}}
`;
  const { registry, file, until } = await openRegistry(t, { 'base.yaml': base, 's.yaml': lonely });
  t.match(registry.warnings(), [{ file: 's.yaml', field: 'spec.selector' }]);
  await writeFile(file('two.yaml'), lonely);
  await until((state) => state.problems.length === 1);
  t.match(registry.warnings(), [{ file: 's.yaml' }], 'not of the second of the name');
});

t.test('has room for many files', async (t) => {
  t.ok(filesMax >= 1000);
});
