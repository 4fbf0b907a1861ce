// SPDX-License-Identifier: Apache-2.0
// Speaks to a node's CNI agent, as a container runtime would.
import { request } from 'node:http';
import { MeshError } from '../lib/error.ts';
import { netnsPath } from './netns.ts';
import type { PodPlan } from './topology.ts';

interface Answer {
  readonly status: number;
  readonly body: string;
}

const answerBytesMax: number = 1 << 20;

function call(socketPath: string, method: string, path: string, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(MeshError.from(error));
    const asked = request({ socketPath, method, path, timeout: 15_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > answerBytesMax) {
          response.destroy(new MeshError('limit', `an answer of over ${answerBytesMax} bytes`));
        }
      });
      response.on('error', fail);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    asked.on('timeout', () => asked.destroy(new MeshError('timeout', 'the CNI agent is silent')));
    asked.on('error', fail);
    asked.end(body);
  });
}

function check(answer: Answer, what: string): void {
  if (answer.status !== 200) {
    throw new MeshError('unavailable', `${what}: ${answer.status} ${answer.body.trim()}`);
  }
}

function pathOf(uid: string): string {
  return `/pods/${encodeURIComponent(uid)}`;
}

/** Enrols a pod; resolves when it is captured and its node proxy has taken it. */
export async function enrolPod(
  api: string,
  pod: PodPlan,
  nameservers: readonly string[],
): Promise<void> {
  const { name, namespace, serviceAccount, settings, ofNamespace } = pod;
  const netns = netnsPath(pod.netns);
  const dns = { nameservers };
  const wants = { ...settings, ofNamespace };
  const body = JSON.stringify({ name, namespace, serviceAccount, netns, dns, ...wants });
  check(await call(api, 'PUT', pathOf(pod.uid), body), `enrolling ${name}`);
}

/** Takes a pod out of the mesh. */
export async function unenrolPod(api: string, pod: PodPlan): Promise<void> {
  check(await call(api, 'DELETE', pathOf(pod.uid)), `un-enrolling ${pod.name}`);
}

/** The uids of the pods that the agent holds. */
export async function enrolledUids(api: string): Promise<string[]> {
  const answer = await call(api, 'GET', '/pods');
  check(answer, 'listing pods');
  const { pods } = JSON.parse(answer.body) as { pods: { uid: string }[] };
  return pods.map(({ uid }) => uid);
}

/** Whether a node proxy is connected to the agent and has taken all pods. */
export async function agentReady(api: string): Promise<boolean> {
  return (await call(api, 'GET', '/ready')).status === 200;
}
