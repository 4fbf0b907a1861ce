// SPDX-License-Identifier: Apache-2.0
// Demo rows about who may pass: authorization and peer authentication, changed while running.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { answerTo, ask, demo, freshTokens } from './demo-traffic.ts';
import type { Lab } from './lab.ts';
import type { LoadResult } from './load.ts';
import { endOfLog, type LogRecord, waitForRecord } from './log-watch.ts';
import { endProcess, type LabProcess } from './processes.ts';
import type { Row } from './report.ts';
import { isAlive, type ProcessMark } from './state.ts';

/** How often the policy file is turned over. */
export const flipsCount = 50;
/** A policy has to be in force after this. */
export const effectMsMax = 1_000;

/** For a program in a pod to start, however busy the machine is. */
const startMs = 30_000;
const stopMs = 10_000;

/** The SPIFFE ID of an account of the demo's namespace. */
export const identityOf = (account: string): string =>
  `spiffe://cluster.local/ns/demo/sa/${account}`;

/** The log of the proxy on the server's node. */
export const serverLog = (lab: Lab): string => lab.process('node-b/ztunnel').logFile;

/** Whether a log record is of a connection that came in from this identity. */
export function inboundFrom(identity: string): (record: LogRecord) => boolean {
  return (record) =>
    record['target'] === 'access' &&
    record['direction'] === 'inbound' &&
    record['src.identity'] === identity;
}

/** Whether the very processes that were marked still run, in words. */
export function sameProcesses(before: readonly ProcessMark[]): string {
  const gone = before.filter((mark) => !isAlive(mark)).length;
  return gone === 0 ? 'same processes' : `${gone} processes were replaced`;
}

/** Asks the server once: true for just the right answer. */
export async function passes(lab: Lab, pod: string, target: string = demo.vip4): Promise<boolean> {
  const tokens = freshTokens();
  const result = await ask(lab, pod, target, tokens);
  return result.code === 0 && result.stdout === answerTo(tokens);
}

/** Asks until the answer is as wanted; the time includes the last request itself. */
export async function msUntil(
  lab: Lab,
  pod: string,
  wanted: boolean,
  target?: string,
): Promise<number> {
  const start = performance.now();
  for (;;) {
    const seen = await passes(lab, pod, target);
    const ms = performance.now() - start;
    if (seen === wanted || ms > 2 * effectMsMax) {
      return ms;
    }
  }
}

async function came(record: Promise<LogRecord>): Promise<boolean> {
  return await record.then(
    () => true,
    () => false,
  );
}

// The log says why: a connection that merely broke does not count. One that was open when the policy
// came is cut by it, all others are refused.
function endedByPolicy(lab: Lab, account: string, from: number): Promise<boolean> {
  const isFrom = inboundFrom(identityOf(account));
  const byPolicy = (record: LogRecord): boolean =>
    isFrom(record) && String(record['error']).includes('policy');
  return came(waitForRecord(serverLog(lab), from, byPolicy, 'an end by policy', effectMsMax));
}

const policyFile = 'policy.yaml';

function policyOf(accounts: readonly string[]): string {
  const principals = accounts.map((account) => `cluster.local/ns/demo/sa/${account}`);
  return `# SPDX-License-Identifier: Apache-2.0
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: web
  namespace: demo
spec:
  selector:
    matchLabels:
      app: web
  action: ALLOW
  rules:
    - from:
        - source:
            principals: [${principals.join(', ')}]
`;
}

/** A policy file that is turned over again and again takes effect each time, on one side only. */
export async function policyRow(lab: Lab): Promise<Row> {
  const before = lab.meshProcesses();
  let worst = 0;
  let wrong = 0;
  let refusals = 0;
  let flips = 0;
  // One that comes too late settles the row.
  for (; flips < flipsCount && worst < effectMsMax; flips += 1) {
    const admitted = flips % 2 === 1;
    const accounts = admitted ? [demo.client, demo.intruder] : [demo.client];
    const from = endOfLog(serverLog(lab));
    await lab.writeMesh(policyFile, policyOf(accounts));
    worst = Math.max(worst, await msUntil(lab, demo.intruder, admitted));
    wrong += (await passes(lab, demo.client)) ? 0 : 1;
    refusals += !admitted && (await endedByPolicy(lab, demo.intruder, from)) ? 1 : 0;
  }
  rmSync(join(lab.meshFolder, policyFile));
  const same = sameProcesses(before);
  const times = `client refused ${wrong} times`;
  const logged = `intruder ended by policy in ${refusals} flips`;
  return {
    name: 'a denied identity is refused, an allowed one passes',
    expected: `${flipsCount} flips, each under ${effectMsMax} ms; client refused 0 times; intruder ended by policy in ${flipsCount / 2} flips; same processes`,
    seen: `${flips} flips, worst ${Math.ceil(worst)} ms; ${times}; ${logged}; ${same}`,
    how: 'policy file rewritten, curl in both pods, access log on node B, process ids and start times',
    ok:
      worst < effectMsMax &&
      wrong === 0 &&
      refusals === flipsCount / 2 &&
      same === 'same processes',
  };
}

/** A connection that a program in a pod holds open. */
interface Held {
  readonly process: LabProcess;
  /** Whether it was cut, or is within twice `effectMsMax`. */
  ended(): Promise<boolean>;
}

async function hold(lab: Lab, pod: string): Promise<Held> {
  const program = join(import.meta.dirname, 'hold.ts');
  const command = [process.execPath, program, demo.vip4, '80'];
  const started = await lab.startInPod(pod, 'hold', command);
  const says = (msg: string): Promise<LogRecord> => {
    const wanted = (record: LogRecord): boolean => record['msg'] === msg;
    return waitForRecord(started.logFile, 0, wanted, `${pod}: ${msg}`, 2 * effectMsMax);
  };
  await says('held');
  return { process: started, ended: () => came(says('ended')) };
}

/** A connection that is open when a policy comes against it is cut; one beside it is not. */
export async function cutRow(lab: Lab): Promise<Row> {
  await msUntil(lab, demo.intruder, true);
  const intruder = await hold(lab, demo.intruder);
  const client = await hold(lab, demo.client);
  const from = endOfLog(serverLog(lab));
  const start = performance.now();
  await lab.writeMesh(policyFile, policyOf([demo.client]));
  const cut = await intruder.ended();
  const ms = Math.ceil(performance.now() - start);
  const logged = await endedByPolicy(lab, demo.intruder, from);
  // The client's is on another worker, perhaps: its turn may come after the intruder's.
  const kept = !(await client.ended());
  await endProcess(client.process, stopMs);
  rmSync(join(lab.meshFolder, policyFile));
  return {
    name: 'an open connection that policy turns against is cut',
    expected: `intruder's cut by policy within ${effectMsMax} ms; client's kept`,
    seen: [
      cut ? `intruder's cut after ${ms} ms` : "intruder's not cut",
      logged ? 'by policy' : 'not by policy',
      kept ? "client's kept" : "client's cut",
    ].join(', '),
    how: 'two connections held open by programs in the pods, access log on node B',
    ok: cut && ms < effectMsMax && logged && kept,
  };
}

const lockedFile = 'locked.yaml';
const locked = { name: 'locked', uid: 'locked/locked', ipv4: '10.77.2.30', ipv6: 'fd77:0:0:2::30' };

const denyAll = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: nobody
  namespace: locked
spec:
  action: DENY
  rules: [{}]
`;

const lockedPod = `# SPDX-License-Identifier: Apache-2.0
apiVersion: v1
kind: Namespace
metadata:
  name: locked
  labels:
    istio.io/dataplane-mode: ambient
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: locked
  namespace: locked
---
apiVersion: v1
kind: Pod
metadata:
  name: ${locked.name}
  namespace: locked
  uid: ${locked.uid}
spec:
  nodeName: node-b
  serviceAccountName: locked
  containers:
    - name: web
      command: [nginx, -p, $(POD_DIR), -c, $(MESH_DIR)/nginx.conf]
      ports:
        - containerPort: ${demo.webPort}
status:
  podIPs:
    - ip: ${locked.ipv4}
    - ip: ${locked.ipv6}
`;

/** Runs the steady load in a pod while `work` runs, and answers what it saw. */
export async function underLoad(
  lab: Lab,
  pod: string,
  target: readonly [host: string, port: number, pauseMs?: number],
  work: () => Promise<void>,
): Promise<LoadResult> {
  const program = join(import.meta.dirname, 'load.ts');
  const command = [process.execPath, program, ...target.map(String)];
  const load = await lab.startInPod(pod, 'load', command);
  const began = (record: LogRecord): boolean => record['ready'] === load.pid;
  const isResult = (record: LogRecord): boolean => 'failed' in record;
  let from = 0;
  try {
    await waitForRecord(load.logFile, 0, began, 'the start of the load', startMs);
    from = endOfLog(load.logFile);
    await work();
  } finally {
    await endProcess(load, stopMs);
  }
  const result = await waitForRecord(load.logFile, from, isResult, "the load's result");
  return result as unknown as LoadResult;
}

/** A namespace, a policy that denies all, and a pod come in one change: nothing ever gets in. */
export async function lockedRow(lab: Lab): Promise<Row> {
  let refused = false;
  const target: [string, number] = [locked.ipv4, demo.webPort];
  const result = await underLoad(lab, demo.client, target, async () => {
    const from = endOfLog(serverLog(lab));
    await lab.writeMesh(lockedFile, lockedPod + denyAll);
    await lab.addNewPods();
    refused = await endedByPolicy(lab, demo.client, from);
  });
  await lab.writeMesh(lockedFile, lockedPod);
  const opened = await msUntil(lab, demo.client, true, `${locked.ipv4}:${demo.webPort}`);
  rmSync(join(lab.meshFolder, lockedFile));
  await lab.removePod(locked.name);
  const answers = result.fresh + result.kept;
  const tries = answers + result.failed;
  return {
    name: 'a new namespace with a DENY and a pod in one change lets no byte pass',
    expected: `0 answers, refused by policy; without the policy it answers within ${effectMsMax} ms`,
    seen: `${answers} answers in ${tries} tries, ${refused ? '' : 'not '}refused by policy; then an answer after ${Math.ceil(opened)} ms`,
    how: 'a client that asks all the while, access log on node B, then the policy alone removed',
    ok: answers === 0 && tries > 0 && refused && opened < effectMsMax,
  };
}

const modeFile = 'peer-authentication.yaml';

function modeOf(mode: string): string {
  return `# SPDX-License-Identifier: Apache-2.0
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: demo
spec:
  mtls:
    mode: ${mode}
`;
}

/** STRICT refuses a client outside the mesh, PERMISSIVE lets it in. */
export async function strictRow(lab: Lab): Promise<Row> {
  const before = lab.meshProcesses();
  const target = `${lab.pod(demo.server).ipv4}:${demo.webPort}`;
  const times: number[] = [await msUntil(lab, demo.outsider, true, target)];
  let member = 0;
  for (const mode of ['STRICT', 'PERMISSIVE', 'STRICT']) {
    await lab.writeMesh(modeFile, modeOf(mode));
    times.push(await msUntil(lab, demo.outsider, mode === 'PERMISSIVE', target));
    member += (await passes(lab, demo.client, target)) ? 1 : 0;
  }
  rmSync(join(lab.meshFolder, modeFile));
  times.push(await msUntil(lab, demo.outsider, true, target));
  const worst = Math.ceil(Math.max(...times));
  const same = sameProcesses(before);
  return {
    name: 'STRICT refuses a client outside the mesh, PERMISSIVE lets it in',
    expected: `5 changes, each under ${effectMsMax} ms; client passes 3 times; same processes`,
    seen: `${times.length} changes, worst ${worst} ms; client passes ${member} times; ${same}`,
    how: 'PeerAuthentication rewritten while running, curl in a pod that is not enrolled',
    ok: worst < effectMsMax && member === 3 && same === 'same processes',
  };
}
