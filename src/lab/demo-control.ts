// SPDX-License-Identifier: Apache-2.0
// Demo rows about identity, change and volume.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../lib/error.ts';
import { ports } from '../lib/ports.ts';
import type { BulkResult } from './bulk.ts';
import type { ClaimResult } from './claim.ts';
import { enrolledUids } from './cni-client.ts';
import { identityOf, inboundFrom, sameProcesses, serverLog } from './demo-policy.ts';
import { answerTo, ask, demo, freshTokens } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import { endOfLog, type LogRecord, waitForRecord } from './log-watch.ts';
import type { Row } from './report.ts';

function addressIs(record: LogRecord, ip: string): boolean {
  return record['target'] === 'access' && String(record['src.addr']).startsWith(`${ip}:`);
}

async function tunnelsFrom(lab: Lab, identity: string): Promise<number> {
  const url = `http://127.0.0.1:${ports.metrics}/metrics`;
  const { stdout } = await lab.onNode('node-b', ['curl', '-sS', '-m', '5', url]);
  const lines = stdout.split('\n').filter((line) => {
    return (
      line.startsWith('istio_tcp_connections_closed_total{') &&
      line.includes('reporter="destination"') &&
      line.includes('connection_security_policy="mutual_tls"') &&
      line.includes(`source_principal="${identity}"`)
    );
  });
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** The server's node knows the client by its certificate. */
export async function identityRow(lab: Lab): Promise<Row> {
  const identity = identityOf(demo.client);
  const before = await tunnelsFrom(lab, identity);
  const from = endOfLog(serverLog(lab));
  await ask(lab, demo.client, demo.vip4, freshTokens());
  const logged = await waitForRecord(
    serverLog(lab),
    from,
    inboundFrom(identity),
    `an access log line with ${identity}`,
  );
  const counted = (await tunnelsFrom(lab, identity)) - before;
  return {
    name: "server side knows the client's SPIFFE ID",
    expected: `${identity}; connections more: at least 1`,
    seen: `${String(logged['src.identity'])}; connections more: ${counted}`,
    how: 'access log and metrics of the proxy on node B',
    ok: logged['src.identity'] === identity && counted >= 1,
  };
}

/** What a tunnel's headers claim is nothing beside its certificate. */
export async function claimRow(lab: Lab): Promise<Row> {
  const holds = identityOf(demo.intruder);
  const server = lab.pod(demo.server);
  const from = endOfLog(serverLog(lab));
  const program = join(import.meta.dirname, 'claim.ts');
  const credential = join(lab.proxyState('node-a'), 'node-credential.json');
  const control = `${lab.plan.control.ipv4}:${ports.control}`;
  const tunnel = [server.ipv4, String(demo.webPort)];
  const lie = [lab.pod(demo.client).ipv4, demo.client];
  const command = [process.execPath, program, credential, control, holds, ...tunnel, ...lie];
  const result = await lab.onNode('node-a', command);
  if (result.code !== 0) {
    throw new MeshError('internal', result.stderr.trim().slice(0, 300));
  }
  const { status, answer } = JSON.parse(result.stdout) as ClaimResult;
  const logged = await waitForRecord(
    serverLog(lab),
    from,
    // The tunnel comes from the node itself, whatever its headers say.
    (record) => record['direction'] === 'inbound' && addressIs(record, lab.node('node-a').ipv4),
    'an access log line of the claim',
  );
  const identity = String(logged['src.identity']);
  return {
    name: 'a tunnel that claims to be the client is logged as what it proves',
    expected: `200; HTTP/1.1 200 OK; ${holds}`,
    seen: `${status}; ${answer}; ${identity}`,
    how: "Node's own HTTP/2 client with the intruder's certificate; access log on node B",
    ok: status === 200 && answer === 'HTTP/1.1 200 OK' && identity === holds,
  };
}

const lateFile = 'late.yaml';
const late = { name: 'late', uid: 'demo/late', ipv4: '10.77.2.20', ipv6: 'fd77:0:0:2::20' };
const latePod = `# SPDX-License-Identifier: Apache-2.0
apiVersion: v1
kind: Pod
metadata:
  name: ${late.name}
  namespace: demo
  uid: ${late.uid}
spec:
  nodeName: node-b
  serviceAccountName: server
  containers:
    - name: web
      command: [nginx, -p, $(POD_DIR), -c, $(MESH_DIR)/nginx.conf]
      ports:
        - containerPort: ${demo.webPort}
status:
  podIPs:
    - ip: ${late.ipv4}
    - ip: ${late.ipv6}
`;

async function lateAnswers(lab: Lab): Promise<boolean> {
  const tokens = freshTokens();
  const result = await ask(lab, demo.client, `${late.ipv4}:${demo.webPort}`, tokens);
  return result.code === 0 && result.stdout === answerTo(tokens);
}

/** A pod comes and goes while everything else runs on. */
export async function lateRow(lab: Lab): Promise<Row> {
  const before = lab.meshProcesses();
  const api = lab.api('node-b');
  await lab.writeMesh(lateFile, latePod);
  await lab.addNewPods();
  const enrolled = (await enrolledUids(api)).includes(late.uid);
  const from = endOfLog(serverLog(lab));
  const reached = await lateAnswers(lab);
  const isClient = inboundFrom(identityOf(demo.client));
  const named = await waitForRecord(
    serverLog(lab),
    from,
    (record) => isClient(record) && record['dst.workload'] === late.name,
    'an access log line of the new pod',
  ).then(
    () => true,
    () => false,
  );
  rmSync(join(lab.meshFolder, lateFile));
  await lab.removePod(late.name);
  const forgotten = !(await enrolledUids(api)).includes(late.uid);
  const unreachable = !(await lateAnswers(lab));
  const same = sameProcesses(before);
  const added = enrolled && reached && named;
  const removed = forgotten && unreachable;
  return {
    name: 'a pod added while running is reachable, a removed one is gone',
    expected: 'enrolled, answers, named in the log; then forgotten, silent; same processes',
    seen: [
      enrolled ? 'enrolled' : 'not enrolled',
      reached ? 'answers' : 'does not answer',
      named ? 'named in the log; then' : 'not named in the log; then',
      forgotten ? 'forgotten' : 'still listed',
      unreachable ? `silent; ${same}` : `still answers; ${same}`,
    ].join(', '),
    how: "curl, the agent's list, access log on node B, process ids",
    ok: added && removed && same === 'same processes',
  };
}

/** Many bytes each way are whole, and an end of stream closes one way only. */
export async function bulkRow(lab: Lab): Promise<Row> {
  const { bulkBytes } = lab;
  const program = join(import.meta.dirname, 'bulk.ts');
  const to = [demo.vip4, String(demo.bulkPort), String(bulkBytes)];
  const started = performance.now();
  const result = await lab.inPod(demo.client, [process.execPath, program, 'send', ...to], {
    timeoutMs: 120_000,
  });
  if (result.code !== 0) {
    throw new MeshError('internal', result.stderr.trim().slice(-300));
  }
  const seconds = (performance.now() - started) / 1000;
  const { sent, received, there, back, halfClose } = JSON.parse(result.stdout) as BulkResult;
  const size = (bytes: number): string => `${bytes / (1 << 20)} MiB`;
  const close = halfClose ? 'half-close kept' : 'half-close lost';
  const digest = (same: boolean): string => (same ? 'same SHA-256' : 'other SHA-256');
  return {
    name: 'bulk each way is intact, half-close kept',
    expected: `${size(bulkBytes)} there and back, same SHA-256 each; half-close kept`,
    seen: `${size(sent)} there, ${digest(there)}; ${size(received)} back, ${digest(back)}; ${close}; ${seconds.toFixed(1)} s`,
    how: 'digests of both ends of one connection; the answer begins after the end of stream',
    ok: sent === bulkBytes && received === bulkBytes && there && back && halfClose,
  };
}
