// SPDX-License-Identifier: Apache-2.0
// Demo rows about what the kernel does by itself: capture, and connections between pods of one node
// that no proxy carries.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import type { BulkResult } from './bulk.ts';
import { identityOf } from './demo-policy.ts';
import { demo } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import { endOfLog, type LogRecord, readLog, waitForRecord } from './log-watch.ts';
import type { Row } from './report.ts';

const neighbour = 'neighbour';
const policyFile = 'neighbour-policy.yaml';
const connectMsMax = 1_000;

const policy = `# SPDX-License-Identifier: Apache-2.0
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: neighbour
  namespace: demo
spec:
  selector:
    matchLabels:
      app: neighbour
  action: DENY
  rules:
    - from:
        - source:
            principals: [cluster.local/ns/demo/sa/${demo.intruder}]
`;

const clientLog = (lab: Lab): string => lab.process('node-a/ztunnel').logFile;

function isDirect(record: LogRecord): boolean {
  return record['target'] === 'access' && record['path'] === 'direct';
}

/** Runs `work` while the proxy of node A does nothing at all. */
async function withoutProxy<T>(lab: Lab, work: () => Promise<T>): Promise<T> {
  const { pid } = lab.process('node-a/ztunnel');
  process.kill(pid, 'SIGSTOP');
  try {
    return await work();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

/** How pods are captured, and what that leaves in them. */
export async function captureRow(lab: Lab): Promise<Row> {
  const agent = lab.process('node-a/cni').logFile;
  const { records } = readLog(agent, 0);
  const tier = String(records.find(({ msg }) => msg === 'capture')?.['tier'] ?? 'unknown');
  const rules = await lab.inPod(demo.client, ['nft', 'list', 'ruleset']);
  const tracked = await lab.inPod(demo.client, ['cat', '/proc/net/nf_conntrack']);
  const bare = rules.code === 0 && rules.stdout === '' && tracked.stdout === '';
  return {
    name: 'pods are captured in the kernel',
    expected: 'tier kernel-direct; neither a rule nor a tracked connection in the pod',
    seen: `tier ${tier}; ${bare ? 'neither a rule nor a tracked connection' : 'rules'} in the pod`,
    how: "the agent's log; nft list ruleset and nf_conntrack in the client pod",
    ok: tier === 'kernel-direct' && bare,
  };
}

interface Tried {
  readonly ms: number;
  readonly outcome: 'connected' | 'refused' | 'other';
}

async function tryConnect(lab: Lab, pod: string): Promise<Tried> {
  const { ipv4 } = lab.pod(neighbour);
  const started = performance.now();
  const probe = `exec 3<>/dev/tcp/${ipv4}/${demo.bulkPort}`;
  const { code, stderr } = await lab.inPod(pod, ['bash', '-c', probe], { timeoutMs: 5_000 });
  const ms = performance.now() - started;
  const refused = stderr.includes('Connection refused');
  return { ms, outcome: code === 0 ? 'connected' : refused ? 'refused' : 'other' };
}

/** Connects until what becomes of it is told as wanted, in the log of node A's proxy. */
async function directly(lab: Lab, pod: string, refused: boolean): Promise<void> {
  const until = performance.now() + 5_000;
  while (performance.now() < until) {
    const from = endOfLog(clientLog(lab));
    await tryConnect(lab, pod);
    const wanted = (record: LogRecord): boolean =>
      isDirect(record) &&
      record['src.identity'] === identityOf(pod) &&
      'error' in record === refused;
    const found = await waitForRecord(clientLog(lab), from, wanted, 'a direct end', 500).then(
      () => true,
      () => false,
    );
    if (found) {
      return;
    }
  }
  throw new MeshError('timeout', `${pod} is not connected directly`);
}

/** A pod and its neighbour go on without the proxy between them. */
export async function directRow(lab: Lab): Promise<Row> {
  await directly(lab, demo.client, false);
  const { bulkBytes } = lab;
  const program = join(import.meta.dirname, 'bulk.ts');
  const to = [lab.pod(neighbour).ipv4, String(demo.bulkPort), String(bulkBytes)];
  const command = [process.execPath, program, 'send', ...to];
  const started = performance.now();
  const result = await withoutProxy(lab, () =>
    lab.inPod(demo.client, command, { timeoutMs: 120_000 }),
  );
  if (result.code !== 0) {
    throw new MeshError('internal', result.stderr.trim().slice(-300));
  }
  const seconds = (performance.now() - started) / 1000;
  const { sent, received, there, back, halfClose } = JSON.parse(result.stdout) as BulkResult;
  const whole = sent === bulkBytes && received === bulkBytes && there && back && halfClose;
  const size = `${bulkBytes / (1 << 20)} MiB`;
  return {
    name: 'pods of one node are connected past their proxy',
    expected: `new connection and ${size} there and back, whole, while the proxy is stopped`,
    seen: `${whole ? `${size} there and back, whole` : 'bytes were lost'}; ${seconds.toFixed(1)} s`,
    how: "SIGSTOP of node A's proxy, digests of both ends, path=direct in its access log before",
    ok: whole,
  };
}

/** Who may not is told so at connect(), by nobody but the kernel. */
export async function deniedRow(lab: Lab): Promise<Row> {
  await lab.writeMesh(policyFile, policy);
  try {
    await directly(lab, demo.intruder, true);
    const from = endOfLog(clientLog(lab));
    const [denied, allowed] = await withoutProxy(lab, async () => [
      await tryConnect(lab, demo.intruder),
      await tryConnect(lab, demo.client),
    ]);
    const logged = await waitForRecord(
      clientLog(lab),
      from,
      (record) => isDirect(record) && record['src.identity'] === identityOf(demo.intruder),
      'an access log line of the denial',
    );
    const quick = denied.outcome === 'refused' && denied.ms < connectMsMax;
    return {
      name: 'a denied pod of the node is refused at connect',
      expected: `intruder refused within ${connectMsMax} ms, client connected, proxy stopped; then logged`,
      seen: `intruder ${denied.outcome} after ${denied.ms.toFixed(0)} ms, client ${allowed.outcome}; logged: ${logged['error']}`,
      how: "AuthorizationPolicy, connect() in both pods, SIGSTOP of node A's proxy, its access log",
      ok: quick && allowed.outcome === 'connected',
    };
  } finally {
    rmSync(join(lab.meshFolder, policyFile), { force: true });
  }
}
