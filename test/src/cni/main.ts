// SPDX-License-Identifier: Apache-2.0
// The real agent process with real rules in a real namespace; only the proxy is a stand-in.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { NodeCapture, trySockmapGates } from '../../../native/capture.ts';
import { main } from '../../../src/cni/main.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { mustRun, runProgram } from '../../../src/lib/program.ts';
import { FakeProxy } from '../../support/fake-proxy.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const launcher = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
const netns = `weft-cni-${process.pid}`;
const netnsPath = `/run/netns/${netns}`;
const cgroup = join(
  cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8')) ?? '',
  `weft-cni-${process.pid}`,
);
const body = { name: 'one', namespace: 'demo', serviceAccount: 'web', netns: netnsPath };

interface Process {
  readonly child: ChildProcess;
  readonly log: Record<string, unknown>[];
  /** Resolves when a line with this message was logged, or the process ended. */
  logged(message: string): Promise<void>;
  stop(): Promise<number | null>;
}

function start(folder: string, metrics = '127.0.0.1:0', ...others: string[]): Process {
  const flags = ['--node', 'n', '--zds', `${folder}/zds.sock`, '--api', `${folder}/cni.sock`];
  const more = ['--proxy-cgroup', cgroup, '--metrics', metrics, ...others];
  const args = [launcher, 'cni', ...flags, ...more];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const log: Record<string, unknown>[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => log.push(JSON.parse(line)));
  return {
    child,
    log,
    logged: async (message) => {
      while (child.exitCode === null && !log.some((record) => record['msg'] === message)) {
        await Promise.race([once(lines, 'line'), ended]);
      }
    },
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
      return child.exitCode;
    },
  };
}

function call(folder: string, method: string, path: string, content?: unknown): Promise<number> {
  return new Promise((resolve, reject) => {
    const text = content === undefined ? '' : JSON.stringify(content);
    // Node sends the body of a DELETE without its length otherwise.
    const headers = { 'content-length': Buffer.byteLength(text) };
    const options = { socketPath: `${folder}/cni.sock`, method, path, headers };
    const asked = request(options, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    asked.on('error', reject);
    asked.end(text);
  });
}

async function rules(): Promise<string> {
  return await mustRun('nsenter', [`--net=${netnsPath}`, 'nft', 'list', 'ruleset']);
}

function listed(folder: string): unknown {
  return JSON.parse(readFileSync(`${folder}/pods.json`, 'utf8'));
}

async function kill(agent: Process): Promise<void> {
  const ended = once(agent.child, 'exit');
  agent.child.kill('SIGKILL');
  await ended;
}

// The proxy has got the pod and never says so: its rules are in, and its enrolment has no end.
async function killInEnrolment(folder: string, agent: Process): Promise<void> {
  const answer = (heard: string): string | undefined => (heard.startsWith('add') ? undefined : '');
  const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1, answer });
  await proxy.until(({ heard }) => heard.includes('snapshot'));
  const cut = call(folder, 'PUT', '/pods/u-1', body).catch(() => 0);
  await proxy.until(({ heard }) => heard.some((what) => what.startsWith('add')));
  await kill(agent);
  await cut;
  proxy.close();
}

async function enrolThenKillInRelease(folder: string, agent: Process): Promise<void> {
  const answer = (heard: string): string | undefined => (heard.startsWith('del') ? undefined : '');
  const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1, answer });
  await proxy.until(({ heard }) => heard.includes('snapshot'));
  await call(folder, 'PUT', '/pods/u-1', body);
  const cut = call(folder, 'DELETE', '/pods/u-1').catch(() => 0);
  await proxy.until(({ heard }) => heard.includes('del u-1'));
  await kill(agent);
  await cut;
  proxy.close();
}

function prepare(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-cni-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

t.test('bad flags are refused with exit code 2', async (t) => {
  t.equal(await main(['--node', 'n']), 2);
  const long = 'x'.repeat(200);
  t.equal(await main(['--node', 'n', '--zds', `/tmp/${long}`, '--api', '/tmp/api']), 2);
  const sockets = ['--zds', '/tmp/zds', '--api', '/tmp/api'];
  t.equal(await main(['--node', 'n', ...sockets, '--when-proxy-down', 'perhaps']), 2);
});

t.test('nftables cannot let pass what it captures', async (t) => {
  const folder = prepare(t);
  const flags = ['--node', 'n', '--zds', `${folder}/zds.sock`, '--api', `${folder}/cni.sock`];
  const down = ['--when-proxy-down', 'pass', '--log-level', 'silent'];
  t.equal(await main([...flags, '--capture', 'nft', ...down]), 3);
});

t.test('a node does not start with a tier that it may not have', { skip }, async (t) => {
  const folder = prepare(t);
  const failed = trySockmapGates().filter(({ ok }) => !ok);
  const reasons = async (...flags: string[]): Promise<string> => {
    const agent = start(folder, undefined, '--bypass', 'sockmap', ...flags);
    t.teardown(() => agent.child.kill('SIGKILL'));
    await agent.logged('ready');
    if (agent.child.exitCode === null) {
      t.equal(await agent.stop(), 0);
      return '';
    }
    t.equal(agent.child.exitCode, 3);
    return String(agent.log.at(-1)?.['reason']);
  };
  mkdirSync(cgroup);
  t.teardown(() => rmdirSync(cgroup));
  t.match(await reasons('--capture', 'nft'), /needs capture in the kernel/);
  const pins = join(folder, 'pins');
  const why = await reasons('--capture', 'auto', '--bpf-pins', pins, '--pods-cgroup', cgroup);
  t.ok(failed.every(({ name, reason }) => why.includes(`${name} (${reason})`)));
  t.equal(why === '', failed.length === 0);
  NodeCapture.uninstall(pins);
});

t.test('the agent from enrolment to restart', { skip }, async (t) => {
  mkdirSync(cgroup);
  await mustRun('ip', ['netns', 'add', netns]);
  await mustRun('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
  t.teardown(async () => {
    await runProgram('ip', ['netns', 'del', netns]);
    rmdirSync(cgroup);
  });
  const folder = prepare(t);
  let agent = start(folder);
  t.teardown(() => agent.child.kill('SIGKILL'));
  await agent.logged('ready');

  await t.test('how the node captures is a metric, and told by the API', async (t) => {
    const port = agent.log.find(({ msg }) => msg === 'listening')?.['metrics'];
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const tier = agent.log.find(({ tier: each }) => each !== undefined)?.['tier'];
    t.match(text, new RegExp(`^weft_capture_tier\\{tier="${tier}"\\} 1$`, 'm'));
    t.match(text, /^weft_capture_feature\{feature="connect4",result="\w+"\} 1$/m);
    t.equal(await call(folder, 'GET', '/capture'), 200);
  });

  await t.test('a port for metrics that somebody has is no reason not to start', async (t) => {
    const port = Number(agent.log.find(({ msg }) => msg === 'listening')?.['metrics']);
    const own = prepare(t);
    const other = start(own, `127.0.0.1:${port}`);
    await other.logged('ready');
    t.ok(other.log.some(({ msg }) => msg === 'metrics are not served'));
    t.equal(await other.stop(), 0);
  });

  await t.test('without a proxy nothing is enrolled and nothing captured', async (t) => {
    t.equal(await call(folder, 'GET', '/ready'), 503);
    t.equal(await call(folder, 'PUT', '/pods/u-1', body), 503);
    t.equal(await rules(), '');
  });

  const refusing = { answer: (heard: string) => (heard.startsWith('add') ? 'not here' : '') };
  await t.test('a pod that the proxy refuses is not captured', async (t) => {
    const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1, ...refusing });
    await agent.logged('snapshot acknowledged');
    t.equal(await call(folder, 'PUT', '/pods/u-1', body), 403);
    t.equal(await rules(), '');
    t.same(proxy.heard.slice(-1), ['del u-1'], 'and the proxy is told to forget it');
    proxy.close();
  });

  await t.test('a pod is captured, exempting the cgroup, and handed over', async (t) => {
    const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1 });
    await proxy.until(({ heard }) => heard.includes('snapshot'));
    t.equal(await call(folder, 'PUT', '/pods/u-1', body), 200);
    t.match(await rules(), new RegExp(`socket cgroupv2 level 1 ".*weft-cni-${process.pid}"`));
    t.same(proxy.heard, ['snapshot', `add u-1 demo/one web ${statSync(netnsPath).ino}`]);
    t.equal(await call(folder, 'PUT', '/pods/u-1', body), 200);
    t.equal(proxy.heard.length, 2);
    proxy.close();
  });

  await t.test('a second agent on the same sockets is refused and changes nothing', async (t) => {
    const second = start(folder);
    await once(second.child, 'exit');
    t.equal(second.child.exitCode, 1);
    t.match(await rules(), 'table inet weft');
    t.equal(await call(folder, 'GET', '/pods'), 200);
  });

  await t.test('pods stay captured over a restart and are in the next snapshot', async (t) => {
    t.equal(await agent.stop(), 0);
    t.match(await rules(), 'table inet weft');
    agent = start(folder);
    await agent.logged('ready');
    const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1 });
    await proxy.until(({ heard }) => heard.includes('snapshot'));
    t.match(proxy.heard, [/^add u-1 /, 'snapshot']);
    t.equal(await call(folder, 'DELETE', '/pods/u-1'), 200);
    t.equal(await rules(), '');
    t.equal(await call(folder, 'DELETE', '/pods/u-1'), 200);
    proxy.close();
  });

  await t.test("what is no namespace of a pod's network is the mistake of who asks", async (t) => {
    const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1 });
    await proxy.until(({ heard }) => heard.includes('snapshot'));
    const status = (path: string): Promise<number> =>
      call(folder, 'PUT', '/pods/u-1', { ...body, netns: path });
    const own = '/proc/self/ns/net'; // as for a pod with hostNetwork
    for (const path of [own, '/proc/self/ns/uts', '/etc/hosts', '/tmp', '/etc/hosts/x']) {
      t.equal(await status(path), 400, path);
      t.equal(await call(folder, 'DELETE', '/pods/u-1', { netns: path }), 400, path);
    }
    t.equal(await status(`${netnsPath}-gone`), 409);
    t.same(listed(folder), []);
    proxy.close();
  });

  await t.test('killed in mid-enrolment, it finishes it at the next start', async (t) => {
    await killInEnrolment(folder, agent);
    t.match(await rules(), 'table inet weft');
    t.match(listed(folder), [{ uid: 'u-1', netns: netnsPath }]);
    agent = start(folder);
    await agent.logged('ready');
    t.match(await rules(), 'table inet weft');
    const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1 });
    await proxy.until(({ heard }) => heard.includes('snapshot'));
    t.match(proxy.heard, [/^add u-1 /, 'snapshot'], 'the proxy has it, so it is whole');
    t.equal(await call(folder, 'DELETE', '/pods/u-1'), 200);
    t.equal(await rules(), '');
    t.same(listed(folder), []);
    proxy.close();
  });

  await t.test('killed while it un-enrols, it releases the pod at the next start', async (t) => {
    await enrolThenKillInRelease(folder, agent);
    t.match(await rules(), 'table inet weft');
    agent = start(folder);
    await agent.logged('ready');
    t.equal(await rules(), '');
    t.same(listed(folder), []);
  });

  await t.test('rules that no list knows go when the namespace is named', async (t) => {
    await killInEnrolment(folder, agent);
    rmSync(`${folder}/pods.json`);
    agent = start(folder);
    await agent.logged('ready');
    t.match(await rules(), 'table inet weft');
    t.equal(await call(folder, 'DELETE', '/pods/u-1', { netns: netnsPath }), 200);
    t.equal(await rules(), '');
  });

  await t.test('a pod whose namespace was deleted can be deleted', async (t) => {
    const proxy = new FakeProxy(`${folder}/zds.sock`, { version: 1 });
    await proxy.until(({ heard }) => heard.includes('snapshot'));
    t.equal(await call(folder, 'PUT', '/pods/u-1', body), 200);
    await mustRun('ip', ['netns', 'del', netns]);
    t.equal(await call(folder, 'DELETE', '/pods/u-1'), 200);
    t.same(proxy.heard.slice(-1), ['del u-1']);
    proxy.close();
  });
  t.equal(await agent.stop(), 0);
});
