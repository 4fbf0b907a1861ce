// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import t from 'tap';
import { MeshError } from '../../../src/lib/error.ts';
import { checkFolder } from '../../../src/registry/check-folder.ts';
import { formatProblem } from '../../../src/registry/problem.ts';

const namespace = 'apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n';
const service = `apiVersion: v1
kind: Service
metadata: {name: s, namespace: demo}
spec: {selector: {app: x}}
`;

t.test('a folder without mistakes has no problems', async (t) => {
  t.same(await checkFolder(t.testdir({ 'a.yaml': namespace, 'b.txt': ']' })), []);
});

t.test('errors, between files too, and warnings are told with file, line and field', async (t) => {
  const folder = t.testdir({
    'a.yaml': namespace,
    'bad.yaml': 'apiVersion: v1\nkind: Node\nmetadata: {nam: x}\n',
    'far.yaml': service.replace('demo', 'far'),
    's.yaml': service,
    'sub.yaml': { 'x.yaml': '' },
  });
  const found = await checkFolder(folder);
  t.same(found.map(formatProblem), [
    'bad.yaml:3: metadata.name: missing',
    'bad.yaml:3: metadata.nam: unknown field',
    'sub.yaml:1: not a regular file',
    'far.yaml:1: metadata.namespace: there is no Namespace far',
    's.yaml:1: spec.selector: selects no pod',
  ]);
});

t.test('a folder that is not there is an error', async (t) => {
  await t.rejects(checkFolder(join(t.testdir(), 'none')), MeshError);
});
