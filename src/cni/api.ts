// SPDX-License-Identifier: Apache-2.0
// The agent's HTTP face for container runtimes, on a UNIX socket that only root can open.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { MeshError, type MeshErrorCode } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import { bypassWays, captureKinds, sameNodeWays } from '../lib/pod-settings.ts';
import { listenPrivate } from '../lib/unix-socket.ts';
import type { CaptureProbe } from './capture-probe.ts';
import { nameserversMax, type PodEnrolment } from './pod.ts';
import type { SettingsReport } from './settings.ts';

/** Largest request body, in bytes. */
export const bodyBytesMax: number = 16 * 1024;
/** Most connections at once. */
export const connectionsMax = 64;

const statusOf: Readonly<Record<MeshErrorCode, number>> = {
  invalid: 400,
  limit: 429,
  denied: 403,
  unavailable: 503,
  timeout: 504,
  conflict: 409,
  unsupported: 501,
  internal: 500,
};

// Kubernetes names; the packet that carries them to the proxy has 1024 bytes.
const label = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'is not a Kubernetes name');
const uidPattern = /^[\w./:-]{1,253}$/;

const netnsPath = z
  .string()
  .startsWith('/')
  .max(4096)
  .refine((path) => !path.includes('\0'), 'is not a path');

const settings = {
  capture: z.enum(captureKinds).optional(),
  sameNode: z.enum(sameNodeWays).optional(),
  bypass: z.enum(bypassWays).optional(),
};

const podSchema = z.strictObject({
  name: label,
  namespace: label,
  serviceAccount: label.default('default'),
  netns: netnsPath,
  ...settings,
  ofNamespace: z.strictObject(settings).optional(),
  // As in the result of a CNI plugin, of which the proxy needs no more.
  dns: z.object({ nameservers: z.array(z.union([z.ipv4(), z.ipv6()])).max(16) }).optional(),
});

// The body of a deletion may be empty.
const deletionSchema = z.strictObject({ netns: netnsPath.optional() });

/** What the API does its work with. */
export interface ApiAgent {
  list(): readonly PodEnrolment[];
  /** How this node captures. */
  capture(): CaptureProbe;
  /** What counts for the enrolled pods, and who said it. */
  settings(): SettingsReport;
  enrol(pod: PodEnrolment): Promise<void>;
  unenrol(uid: string, netns?: string): Promise<void>;
}

function parse<T>(schema: z.ZodType<T>, body: string): T {
  const parsed = schema.safeParse(jsonOf(body));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new MeshError('invalid', `${issue?.path.join('.') || 'body'}: ${issue?.message}`);
  }
  return parsed.data;
}

/** Parses the body of an enrolment. Throws MeshError `invalid`. */
function parsePod(uid: string, body: string): PodEnrolment {
  const { dns, ...pod } = parse(podSchema, body);
  return { uid, ...pod, nameservers: dns?.nameservers.slice(0, nameserversMax) ?? [] };
}

function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new MeshError('invalid', 'the body is not JSON', { cause: error });
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > bodyBytesMax) {
      throw new MeshError('limit', `a body of over ${bodyBytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function uidOf(path: string): string {
  let uid = '';
  try {
    uid = decodeURIComponent(path.slice('/pods/'.length));
  } catch {
    // Left empty, which is refused below.
  }
  if (!uidPattern.test(uid)) {
    throw new MeshError('invalid', 'the path does not end in a pod uid');
  }
  return uid;
}

const views: ReadonlyMap<string, (agent: ApiAgent) => unknown> = new Map<
  string,
  (agent: ApiAgent) => unknown
>([
  ['/capture', (agent) => agent.capture()],
  ['/settings', (agent) => agent.settings()],
  ['/pods', (agent) => ({ pods: agent.list() })],
]);

async function answer(request: IncomingMessage, agent: ApiAgent, ready: boolean): Promise<unknown> {
  const { method, url = '' } = request;
  const shown = method === 'GET' ? views.get(url) : undefined;
  if (shown !== undefined) {
    return shown(agent);
  }
  if (method === 'GET' && url === '/ready') {
    if (!ready) {
      throw new MeshError('unavailable', 'no node proxy is connected');
    }
    return { ready };
  }
  if (method === 'PUT' && url.startsWith('/pods/')) {
    await agent.enrol(parsePod(uidOf(url), await bodyOf(request)));
    return {};
  }
  if (method === 'DELETE' && url.startsWith('/pods/')) {
    const body = await bodyOf(request);
    await agent.unenrol(uidOf(url), parse(deletionSchema, body === '' ? '{}' : body).netns);
    return {};
  }
  throw new MeshError('invalid', `there is no ${method} ${url}`);
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

/**
 * Serves the API at `path` (0600, in a 0700 folder): `PUT /pods/<uid>`, `DELETE /pods/<uid>` (with
 * `{netns}` it also releases a pod that the agent does not know), `GET /pods`, `GET /ready`, `GET
 * /capture`, `GET /settings`. Errors are `{error}` with the status of their code. Rejects with
 * MeshError `conflict` when another agent serves there.
 */
export async function serveApi(
  path: string,
  agent: ApiAgent,
  ready: () => boolean,
  log: Logger,
): Promise<Server> {
  const server = createServer({ requestTimeout: 30_000 }, (request, response) => {
    answer(request, agent, ready())
      .then((body) => send(response, 200, body))
      .catch((thrown: unknown) => {
        const error = MeshError.from(thrown);
        const { method, url } = request;
        log.warn({ method, url, code: error.code, reason: error.message }, 'request failed');
        send(response, statusOf[error.code], { error: error.message });
      });
  });
  server.maxConnections = connectionsMax;
  await listenPrivate(server, path);
  return server;
}
