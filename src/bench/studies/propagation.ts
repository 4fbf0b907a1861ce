// SPDX-License-Identifier: Apache-2.0
// How soon a change of one pod is in force: from the file's rename until a connection that is made
// all the while ends otherwise, with few and with many other workloads in the mesh.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { Lab } from '../../lab/lab.ts';
import { isAlive } from '../../lab/state.ts';
import { MeshError } from '../../lib/error.ts';
import { withBenchLab } from '../bench-lab.ts';
import { meshOf, serverPorts } from '../mesh.ts';
import type { Progress } from '../progress.ts';
import { type Row, rowsOf } from '../summary.ts';
import { podOf } from '../variants/variant.ts';
import { weft } from '../variants/weft.ts';
import type { Outcome } from './probe.ts';

/** Its name among the workloads. */
export const propagationStudy = 'propagation';

/** Workloads in the mesh besides those of the benchmark. */
export const meshSizes: readonly number[] = [100, 10_000];

/** Changes that are timed at each size. */
export const changesOf = 20;

const entriesOfFile = 250;
const changeTimeoutMs = 20_000;
const closedLabel = { closed: 'yes' };
const program: string = join(import.meta.dirname, 'probe.ts');

// Nobody may reach what carries the label.
const policy = stringify({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'closed', namespace: weft.name },
  spec: { selector: { matchLabels: closedLabel }, action: 'DENY', rules: [{}] },
});

function entry(index: number): object {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: { name: `entry-${index}`, namespace: weft.name },
    spec: { address: `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}` },
  };
}

/** Manifests of so many workloads that only exist, by file name. */
export function entryFiles(count: number): Record<string, string> {
  const files: Record<string, string> = {};
  for (let first = 0; first < count; first += entriesOfFile) {
    const length = Math.min(entriesOfFile, count - first);
    const all = Array.from({ length }, (_, at) => stringify(entry(first + at)));
    files[`entries-${first}.yaml`] = all.join('---\n');
  }
  return files;
}

/** The last whole line that a probe printed. */
export function lastOutcome(log: string): { readonly atNs: bigint; readonly outcome: Outcome } {
  const found = [...log.matchAll(/^(\d+) (answered|refused)\n/gm)].at(-1);
  if (found === undefined) {
    throw new MeshError('unavailable', 'the probe has said nothing');
  }
  return { atNs: BigInt(found[1] ?? 0), outcome: found[2] as Outcome };
}

/** Throws MeshError `invalid` when connections ended otherwise before there was a reason to. */
export function checkSince(atNs: bigint, sinceNs: bigint): bigint {
  if (atNs < sinceNs) {
    throw new MeshError('invalid', 'the probe saw a change before there was one');
  }
  return atNs;
}

interface Probe {
  /** Resolves with the time of that outcome, if it is the last one and not from before `sinceNs`. */
  until(wanted: Outcome, sinceNs?: bigint): Promise<bigint>;
}

async function startProbe(lab: Lab): Promise<Probe> {
  const server = lab.pod(podOf(weft, 'server')).ipv4;
  const command = [process.execPath, program, server, String(serverPorts.http)];
  const started = await lab.startInPod(podOf(weft, 'client'), 'probe', command);
  return {
    until: async (wanted, sinceNs = 0n) => {
      const end = Date.now() + changeTimeoutMs;
      for (;;) {
        const log = readFileSync(started.logFile, 'utf8');
        const last = log.includes('\n') ? lastOutcome(log) : undefined;
        if (last?.outcome === wanted) {
          return checkSince(last.atNs, sinceNs);
        }
        if (!isAlive(started) || Date.now() > end) {
          throw new MeshError('timeout', `no connection is ${wanted}: ${log.slice(-300)}`);
        }
        await wait(5);
      }
    },
  };
}

async function timeChanges(lab: Lab, progress: Progress): Promise<Map<number, number>> {
  const probe = await startProbe(lab);
  await probe.until('answered');
  const times = new Map<number, number>();
  for (let change = 1; change <= changesOf; change++) {
    const closes = change % 2 === 1;
    const labels = closes ? { [podOf(weft, 'server')]: closedLabel } : {};
    const fresh = join(lab.meshFolder, '.mesh.new');
    writeFileSync(fresh, meshOf([weft], labels));
    const before = process.hrtime.bigint();
    renameSync(fresh, join(lab.meshFolder, 'mesh.yaml'));
    const after = await probe.until(closes ? 'refused' : 'answered', before);
    times.set(change, Number(after - before) / 1e6);
    progress.done(1);
  }
  return times;
}

/** Times changes among `size` other workloads, on a lab of its own. Only for the mesh itself. */
export async function measurePropagation(
  name: string,
  size: number,
  progress: Progress,
): Promise<Row[]> {
  const more = { ...entryFiles(size), 'closed.yaml': policy };
  const said = (text: string): void => progress.note(`${propagationStudy}, ${size}: ${text}`);
  const options = { name, variants: [weft], more, progress: said };
  const times = await withBenchLab(options, (lab) => timeChanges(lab, progress));
  const figure = `one pod changed among ${size}`;
  const values = new Map([[weft.name, times]]);
  return rowsOf({ workload: propagationStudy, figure, unit: 'ms', values }, [weft.name]);
}
