// SPDX-License-Identifier: Apache-2.0
// A real HTTP server on a real socket; the agent behind it is a fake.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type ApiAgent, bodyBytesMax, serveApi } from '../../../src/cni/api.ts';
import type { CaptureProbe } from '../../../src/cni/capture-probe.ts';
import type { PodEnrolment } from '../../../src/cni/pod.ts';
import type { SettingsReport } from '../../../src/cni/settings.ts';
import { MeshError, type MeshErrorCode } from '../../../src/lib/error.ts';
import { createLog } from '../../../src/lib/log.ts';
import { runProgram } from '../../../src/lib/program.ts';

const log = createLog('test', 'silent');
const body = { name: 'one', namespace: 'demo', serviceAccount: 'web', netns: '/run/netns/one' };
const settings: SettingsReport = {
  mesh: { sameNode: 'tunnel' },
  node: { capture: 'ebpf', hasEbpf: true, sameNode: 'direct', bypass: 'none' },
  pods: [],
};
const report: CaptureProbe = { tier: 'nftables', reasons: ['btf: no'], features: [] };

interface Fixture {
  readonly path: string;
  readonly pods: PodEnrolment[];
  /** The namespaces that came with deletions. */
  readonly released: (string | undefined)[];
  fail: MeshErrorCode | undefined;
  ready: boolean;
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }>;
}

function socketPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-api-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, 'api', 'cni.sock');
}

async function serve(t: Test): Promise<Fixture> {
  const path = socketPath(t);
  const pods: PodEnrolment[] = [];
  const released: Fixture['released'] = [];
  const act = async (work: () => void): Promise<void> => {
    if (fixture.fail !== undefined) {
      throw new MeshError(fixture.fail, 'as told');
    }
    work();
  };
  const agent = {
    list: () => pods,
    capture: () => report,
    settings: () => settings,
    enrol: (pod: PodEnrolment) => act(() => pods.push(pod)),
    unenrol: (uid: string, netns?: string) =>
      act(() => {
        pods.splice(0, pods.length, ...pods.filter((p) => p.uid !== uid));
        released.push(netns);
      }),
  };
  const call: Fixture['call'] = (method, url, content) =>
    new Promise((resolve, reject) => {
      const text = typeof content === 'string' ? content : (JSON.stringify(content) ?? '');
      // Node sends the body of a DELETE without its length otherwise.
      const headers = { 'content-length': Buffer.byteLength(text) };
      const asked = request({ socketPath: path, method, path: url, headers }, (response) => {
        let answer = '';
        response.on('data', (piece) => {
          answer += piece;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(answer) }),
        );
      });
      asked.on('error', reject);
      asked.end(text);
    });
  const fixture: Fixture = { path, pods, released, fail: undefined, ready: true, call };
  const server = await serveApi(path, agent, () => fixture.ready, log);
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return fixture;
}

function idleAgent(): ApiAgent {
  return {
    list: () => [],
    capture: () => report,
    settings: () => settings,
    enrol: async () => undefined,
    unenrol: async () => undefined,
  };
}

t.test('how the node captures is told', async (t) => {
  const fixture = await serve(t);
  t.same(await fixture.call('GET', '/capture'), { status: 200, body: report });
});

t.test('what counts for pods is told', async (t) => {
  const fixture = await serve(t);
  t.same(await fixture.call('GET', '/settings'), { status: 200, body: settings });
});

t.test('the socket is for its owner only, and so is its folder', async (t) => {
  const { path } = await serve(t);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
});

t.test('a pod is put, listed and deleted', async (t) => {
  const { call } = await serve(t);
  const dns = { nameservers: ['10.0.0.53', 'fd00::53', '10.0.0.54', '10.0.0.55'], search: ['x'] };
  t.same(await call('PUT', '/pods/u-1', { ...body, dns }), { status: 200, body: {} });
  const { serviceAccount: _, ...plain } = body;
  t.match(await call('PUT', '/pods/demo%2Ftwo', plain), { status: 200 });
  t.same(await call('GET', '/pods'), {
    status: 200,
    body: {
      pods: [
        { uid: 'u-1', ...body, nameservers: dns.nameservers.slice(0, 3) },
        { uid: 'demo/two', ...body, serviceAccount: 'default', nameservers: [] },
      ],
    },
  });
  t.match(await call('DELETE', '/pods/u-1'), { status: 200 });
  t.match(await call('GET', '/pods'), { body: { pods: [{ uid: 'demo/two' }] } });
});

t.test('what is not a pod is refused by its field', async (t) => {
  const { call, pods } = await serve(t);
  const bad: [string, unknown, RegExp][] = [
    ['/pods/u', '{', /not JSON/],
    ['/pods/u', { ...body, netns: 'relative' }, /^netns: /],
    ['/pods/u', { ...body, netns: 7 }, /^netns: /],
    ['/pods/u', { ...body, netns: '/run/\0' }, /^netns: /],
    ['/pods/u', null, /^body: /],
    ['/pods/u', { ...body, dns: { nameservers: ['a.b'] } }, /^dns\.nameservers\.0: /],
    ['/pods/u', { ...body, name: 'No' }, /^name: is not a Kubernetes name/],
    ['/pods/u', { ...body, bypass: 'tcp' }, /^bypass: /],
    ['/pods/u', { ...body, more: 1 }, /more/],
    ['/pods/', body, /pod uid/],
    ['/pods/%zz', body, /pod uid/],
    ['/pods/a%0Ab', body, /pod uid/],
    ['/other', body, /there is no PUT/],
  ];
  for (const [path, content, error] of bad) {
    t.match(await call('PUT', path, content), { status: 400, body: { error } }, path);
  }
  t.same(pods, []);
});

t.test('a deletion may name the namespace', async (t) => {
  const { call, released } = await serve(t);
  t.match(await call('DELETE', '/pods/u'), { status: 200 });
  t.match(await call('DELETE', '/pods/u', {}), { status: 200 });
  t.match(await call('DELETE', '/pods/u', { netns: '/run/netns/one' }), { status: 200 });
  t.same(released, [undefined, undefined, '/run/netns/one']);
  for (const bad of [{ netns: 7 }, { netns: 'relative' }, { more: 1 }, [], '{']) {
    t.match(await call('DELETE', '/pods/u', bad), { status: 400 }, JSON.stringify(bad));
  }
  t.equal(released.length, 3);
});

t.test('a body is taken up to its limit', async (t) => {
  const { call } = await serve(t);
  const padded = (bytes: number): string => JSON.stringify(body).padEnd(bytes, ' ');
  t.match(await call('PUT', '/pods/u', padded(bodyBytesMax)), { status: 200 });
  t.match(await call('PUT', '/pods/u', padded(bodyBytesMax + 1)), { status: 429 });
});

t.test('a failure has the status of its code and a sentence', async (t) => {
  const fixture = await serve(t);
  const statuses = { denied: 403, conflict: 409, unavailable: 503, timeout: 504, internal: 500 };
  for (const [code, status] of Object.entries(statuses)) {
    fixture.fail = code as MeshErrorCode;
    const wanted = { status, body: { error: 'as told' } };
    t.same(await fixture.call('PUT', '/pods/u', body), wanted, code);
    t.same(await fixture.call('DELETE', '/pods/u'), wanted, code);
  }
});

t.test('readiness follows the proxy', async (t) => {
  const fixture = await serve(t);
  t.same(await fixture.call('GET', '/ready'), { status: 200, body: { ready: true } });
  fixture.ready = false;
  t.match(await fixture.call('GET', '/ready'), { status: 503 });
});

t.test('the socket of a dead agent is taken over, that of a live one is not', async (t) => {
  const { path } = await serve(t);
  const agent = idleAgent();
  await t.rejects(
    serveApi(path, agent, () => true, log),
    { code: 'conflict' },
  );
  const stale = socketPath(t);
  mkdirSync(dirname(stale), { mode: 0o700 });
  // A process that is killed leaves its socket's file behind.
  const script =
    'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))';
  await runProgram(process.execPath, ['-e', script, stale]);
  t.ok(existsSync(stale));
  const server = await serveApi(stale, agent, () => true, log);
  server.close();
});

t.test('a folder that others can enter is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-api-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const agent = idleAgent();
  await t.rejects(
    serveApi(join(folder, 'cni.sock'), agent, () => true, log),
    { code: 'denied' },
  );
});
