// SPDX-License-Identifier: Apache-2.0
// Each row of the demo fails when its cause is broken: here the mesh's YAML is, nothing else.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Report, tableOf } from '../../../src/lab/report.ts';
import { runProgram } from '../../../src/lib/program.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const launcher = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
const mesh = new URL('../../../src/lab/mesh', import.meta.url).pathname;
const timeoutMs = 480_000;

t.setTimeout(timeoutMs + 60_000);
// Each break has a lab of its own, and most of them wait most of the time.
t.jobs = 4;

function lab(...args: string[]): ReturnType<typeof runProgram> {
  return runProgram(process.execPath, [launcher, 'lab', ...args], { timeoutMs });
}

// What each row's name begins with.
const rows = {
  reach: 'client reaches server',
  names: 'client reaches server by (service name|headless|its own)|other names',
  wire: 'only TLS 1.3',
  identity: 'server side knows',
  claim: 'a tunnel that claims|a claim',
  policy: 'a denied identity',
  cut: 'an open connection',
  locked: 'a new namespace',
  strict: 'STRICT',
  outage: 'the control plane is killed',
  rotation: 'the root is rotated',
  kernel: 'pods are captured in the kernel',
  direct: 'pods of one node are connected past',
  kernelDenies: 'a denied pod of the node',
  late: 'a pod added|a pod comes',
  bulk: 'bulk each way',
  detector: 'with capture off',
} as const;
type RowKey = keyof typeof rows;

interface Break {
  readonly title: string;
  /** Text to replace, by file. A new file has an empty text to be replaced. */
  readonly edits: readonly (readonly [file: string, from: string | RegExp, to: string])[];
  readonly fail: readonly RowKey[];
  readonly hold: readonly RowKey[];
}

const onlyIntruder = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-intruder, namespace: demo}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/demo/sa/intruder]}}]}]
`;

const tooEarly = "require('net').createServer((s) => s.resume().end('x')).listen(9000, '::')";

const breaks: readonly Break[] = [
  {
    title: 'a namespace that is not in the mesh',
    edits: [['platform.yaml', 'dataplane-mode: ambient', 'dataplane-mode: none']],
    fail: [
      'direct',
      'kernelDenies',
      'names',
      'wire',
      'identity',
      'claim',
      'policy',
      'cut',
      'locked',
      'strict',
      'late',
      'bulk',
    ],
    hold: ['detector'],
  },
  {
    title: 'a server beside its client, so that nothing crosses the link',
    edits: [
      ['server.yaml', 'nodeName: node-b', 'nodeName: node-a'],
      ['server.yaml', '10.77.2.10', '10.77.1.20'],
      ['server.yaml', 'fd77:0:0:2::10', 'fd77:0:0:1::20'],
    ],
    fail: ['wire', 'identity', 'claim', 'cut', 'outage', 'detector'],
    hold: ['reach', 'names', 'strict', 'rotation', 'late', 'bulk'],
  },
  {
    title: 'a policy that admits only the intruder',
    edits: [['intruder.yaml', '', onlyIntruder]],
    fail: ['reach', 'wire', 'identity', 'policy', 'outage', 'rotation', 'bulk'],
    hold: ['claim', 'locked', 'late'],
  },
  {
    title: 'pods that want nftables and tunnels',
    edits: [
      [
        'client.yaml',
        'name: client\n  namespace: demo\nspec',
        'name: client\n  namespace: demo\n  annotations: {weft.dev/capture: nft}\nspec',
      ],
      [
        'neighbour.yaml',
        '  labels:\n    app: neighbour',
        '  annotations: {weft.dev/same-node: tunnel}\n  labels:\n    app: neighbour',
      ],
    ],
    fail: ['kernel', 'direct', 'kernelDenies'],
    hold: ['reach', 'names', 'wire', 'identity', 'policy', 'cut', 'strict', 'late', 'bulk'],
  },
  {
    title: 'a client with another account, and a server that answers too early',
    edits: [
      ['client.yaml', 'serviceAccountName: client', 'serviceAccountName: intruder'],
      ['server.yaml', /command: .*bulk.*/, `command: [$(NODE), -e, "${tooEarly}"]`],
    ],
    fail: ['identity', 'policy', 'cut', 'locked', 'late', 'bulk'],
    hold: ['reach', 'wire', 'claim', 'outage', 'rotation', 'detector'],
  },
];

for (const [index, { title, edits, fail, hold }] of breaks.entries()) {
  const name = `d${process.pid}${'abcde'[index]}`;
  t.test(title, { skip, buffered: true, timeout: timeoutMs + 30_000 }, async (t) => {
    t.teardown(() => lab('down', '--name', name));
    const config = join(t.testdir(), 'mesh');
    cpSync(mesh, config, { recursive: true });
    for (const [file, from, to] of edits) {
      const path = join(config, file);
      const before = from === '' ? '' : readFileSync(path, 'utf8');
      const after = before.replace(from, () => to);
      t.not(after, before, `${file} is changed`);
      writeFileSync(path, after);
    }
    // How much is sent changes nothing of what a broken mesh does to it.
    const how = ['--name', name, '--config', config, '--bulk', '64', '-o', 'json'];
    const result = await lab(...how);
    const report = JSON.parse(result.stdout) as Report;
    t.comment(tableOf(report));
    t.equal(result.code, 1);
    t.equal(report.ok, false);
    const wanted = [...fail.map((key) => [key, false]), ...hold.map((key) => [key, true])] as [
      RowKey,
      boolean,
    ][];
    for (const [key, ok] of wanted) {
      const found = report.rows.filter((row) => new RegExp(`^(${rows[key]})`).test(row.name));
      t.ok(
        found.length > 0 && found.every((row) => row.ok === ok),
        `${key} ${ok ? 'holds' : 'fails'}: ${found.map(({ seen }) => seen).join(' | ')}`,
      );
    }
  });
}
