// SPDX-License-Identifier: Apache-2.0
// Real namespaces and real rules. The proxy is a stand-in in Python that forwards in plaintext.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import t, { type Test } from 'tap';
import { canMatchCgroup, describeCgroup, NftCapture } from '../../../src/cni/capture-nft.ts';
import { mustRun, runProgram } from '../../../src/lib/program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const peer = new URL('../../support/capture_peer.py', import.meta.url).pathname;
const python = '/usr/bin/python3';
const id = process.pid;
const pods = {
  one: { netns: `weft-cap-${id}-1`, ipv4: '10.98.0.1', ipv6: 'fd98::1' },
  two: { netns: `weft-cap-${id}-2`, ipv4: '10.98.0.2', ipv6: 'fd98::2' },
} as const;
type Pod = (typeof pods)[keyof typeof pods];

const skip = process.getuid?.() === 0 ? false : 'needs root';

function cgroup2Root(): string {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return mounts.find((line) => line.includes(' cgroup2 '))?.split(' ')[1] ?? '';
}

const cgroup = `${cgroup2Root()}/weft-cap-${id}`;
const netnsPath = (pod: Pod): string => `/run/netns/${pod.netns}`;

interface Server {
  readonly child: ChildProcess;
  /** The line it printed when it was ready. */
  readonly first: Record<string, unknown>;
  /** The next line it prints. */
  next(): Promise<Record<string, unknown>>;
}

function lines(reader: Interface): () => Promise<Record<string, unknown>> {
  const iterator = reader[Symbol.asyncIterator]();
  return async () => JSON.parse(String((await iterator.next()).value));
}

// The shell only joins the cgroup; its text is constant.
async function start(pod: Pod, folder: string, ...args: string[]): Promise<Server> {
  mkdirSync(folder, { recursive: true });
  const join = 'echo $$ >"$0/cgroup.procs" && exec "$@"';
  const inside = ['nsenter', `--net=${netnsPath(pod)}`, python, peer, ...args];
  const child = spawn('sh', ['-c', join, folder, ...inside], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const next = lines(createInterface({ input: child.stdout }));
  const first = await next();
  return { child, next, first };
}

async function get(
  from: Pod,
  host: string,
  port: number,
  mark = '0',
  sourcePort = '0',
): Promise<string> {
  const source = host.includes(':') ? from.ipv6 : from.ipv4;
  const own = mark === '0' && sourcePort === '0' ? [] : [mark, source, sourcePort];
  const args = ['get', host, String(port), ...own];
  const inside = [`--net=${netnsPath(from)}`, python, peer, ...args];
  const result = await runProgram('nsenter', inside);
  return result.code === 0 ? result.stdout.trim() : 'failed';
}

async function build(): Promise<void> {
  for (const pod of Object.values(pods)) {
    await mustRun('ip', ['netns', 'add', pod.netns]);
  }
  const [one, two] = [pods.one.netns, pods.two.netns];
  const ends = ['eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', two];
  await mustRun('ip', ['-n', one, 'link', 'add', ...ends]);
  for (const pod of Object.values(pods)) {
    const ip = (...args: string[]): Promise<string> => mustRun('ip', ['-n', pod.netns, ...args]);
    await ip('addr', 'add', `${pod.ipv4}/24`, 'dev', 'eth0');
    await ip('addr', 'add', `${pod.ipv6}/64`, 'dev', 'eth0', 'nodad');
    await ip('link', 'set', 'lo', 'up');
    await ip('link', 'set', 'eth0', 'up');
  }
}

const servers: Server[] = [];

async function startAll(): Promise<{ one: Server; two: Server }> {
  const one = await start(pods.one, `${cgroup}/proxy`, 'proxy');
  const two = await start(pods.two, `${cgroup}/proxy`, 'proxy');
  servers.push(one, two);
  for (const pod of Object.values(pods)) {
    servers.push(await start(pod, `${cgroup}/app`, 'app', '8080'));
  }
  return { one, two };
}

async function destroy(): Promise<void> {
  for (const server of [...servers]) {
    await end(server);
  }
  for (const pod of Object.values(pods)) {
    await runProgram('ip', ['netns', 'del', pod.netns]);
  }
  for (const folder of [`${cgroup}/proxy`, `${cgroup}/app`, cgroup]) {
    rmdirSync(folder);
  }
}

async function inPod(pod: Pod, ...command: string[]): Promise<string> {
  return await mustRun('nsenter', [`--net=${netnsPath(pod)}`, '--', ...command]);
}

async function end(server: Server): Promise<void> {
  servers.splice(servers.indexOf(server), 1);
  const ended = new Promise((resolve) => server.child.once('exit', resolve));
  server.child.kill('SIGKILL');
  await ended;
}

/** What firewalls inside of pods are wont to do. */
const invalidDropped: readonly string[] = [
  'add table inet strict',
  'add chain inet strict out { type filter hook output priority 0; }',
  'add chain inet strict in { type filter hook input priority 0; }',
  'add rule inet strict out ct state invalid drop',
  'add rule inet strict in ct state invalid drop',
].flatMap((command) => [command, ';']);

const marksSetting = '/proc/sys/net/ipv4/tcp_fwmark_accept';

async function leftovers(pod: Pod): Promise<string> {
  const tables = await inPod(pod, 'nft', 'list', 'tables');
  const rules = await inPod(pod, 'ip', 'rule', 'show', 'pref', '32764');
  const table = [`--net=${netnsPath(pod)}`, '--', 'ip', 'route', 'show', 'table', '100'];
  const routes = await runProgram('nsenter', table);
  return tables + rules + routes.stdout;
}

t.test('a cgroup is described by its depth below the version 2 root', { skip }, async (t) => {
  const folder = `${cgroup2Root()}/weft-cap-${id}-depth/a`;
  mkdirSync(folder, { recursive: true });
  t.teardown(() => {
    rmdirSync(folder);
    rmdirSync(dirname(folder));
  });
  t.match(describeCgroup(folder), { level: 2, path: /weft-cap-\d+-depth\/a$/ });
  t.throws(() => describeCgroup(`${folder}/missing`), { code: 'unavailable' });
  t.throws(() => describeCgroup(cgroup2Root()), { code: 'unsupported' });
  t.throws(() => describeCgroup('/tmp'), { code: 'unsupported' });
});

t.test(
  "a network namespace is taken, and neither anything else nor the node's own",
  { skip },
  async (t) => {
    const capture = new NftCapture();
    const other = await makeNetNamespace();
    t.teardown(() => other.close());
    await capture.check(other.path);
    const own = /is the node's own network namespace/;
    await t.rejects(capture.check('/proc/self/ns/net'), { code: 'invalid', message: own });
    await t.rejects(capture.check('/proc/self/ns/uts'), { code: 'invalid' });
    await t.rejects(capture.check('/etc/hosts'), { code: 'invalid' });
    await t.rejects(capture.check('/no/such/file'), { code: 'internal' });
  },
);

t.test('capture in two pods', { skip }, async (t: Test) => {
  t.teardown(destroy);
  await build();
  const proxies = await startAll();
  t.ok(await canMatchCgroup(`${cgroup}/proxy`), 'this kernel matches sockets by cgroup');
  const capture = new NftCapture(`${cgroup}/proxy`);
  const { one, two } = pods;

  t.equal(await get(one, two.ipv4, 8080), one.ipv4, 'uncaptured pods talk directly');
  await capture.install(netnsPath(two));

  for (const family of ['ipv4', 'ipv6'] as const) {
    await t.test(`plaintext from outside passes the inbound port (${family})`, async (t) => {
      t.equal(await get(one, two[family], 8080), one[family], 'with the source kept');
      t.match(await proxies.two.next(), { port: 15006, target: two[family], targetPort: 8080 });
    });
  }

  await capture.install(netnsPath(one));
  await capture.install(netnsPath(one));

  for (const family of ['ipv4', 'ipv6'] as const) {
    await t.test(`application traffic passes both proxies (${family})`, async (t) => {
      t.equal(await get(one, two[family], 8080), one[family], 'with the source kept');
      t.match(await proxies.one.next(), { port: 15001, target: two[family], targetPort: 8080 });
      t.match(await proxies.two.next(), { port: 15008, peer: one[family] });
    });

    await t.test(`the proxy's mark on a foreign socket frees nobody (${family})`, async (t) => {
      t.equal(await get(one, two[family], 8080, '0x539'), one[family]);
      t.match(await proxies.one.next(), { port: 15001, target: two[family] });
      t.match(await proxies.two.next(), { port: 15008, peer: one[family] });
    });

    await t.test(`the loop mark on a foreign socket frees nobody (${family})`, async (t) => {
      t.equal(await get(one, two[family], 8080, '0x111'), one[family]);
      t.match(await proxies.one.next(), { port: 15001, target: two[family] });
      t.match(await proxies.two.next(), { port: 15008 });
    });

    await t.test(`a pod reaches itself without the proxy (${family})`, async (t) => {
      const loopback = family === 'ipv4' ? '127.0.0.1' : '::1';
      t.equal(await get(one, one[family], 8080), one[family]);
      t.equal(await get(one, loopback, 8080), loopback);
    });
  }

  await t.test('tunnels are not tracked, what is redirected is', async (t) => {
    for (const pod of [one, two]) {
      const tracked = await inPod(pod, 'cat', '/proc/net/nf_conntrack');
      t.match(tracked, /dport=8080/, 'the connection of the application');
      t.notMatch(tracked, /port=15008/);
    }
  });

  await t.test('a pod that drops invalid packets keeps its tunnels', async (t) => {
    for (const pod of [one, two]) {
      await inPod(pod, 'nft', ...invalidDropped);
    }
    for (const family of ['ipv4', 'ipv6'] as const) {
      t.equal(await get(one, two[family], 8080), one[family]);
      await proxies.one.next();
      t.match(await proxies.two.next(), { port: 15008, peer: one[family] });
    }
    for (const pod of [one, two]) {
      await inPod(pod, 'nft', 'delete', 'table', 'inet', 'strict');
    }
  });

  for (const family of ['ipv4', 'ipv6'] as const) {
    await t.test(`who closed a tunnel first still hears the other (${family})`, async (t) => {
      const { first } = await start(one, `${cgroup}/proxy`, 'leave', two[family]);
      t.match(await proxies.two.next(), { port: 15008, left: true });
      const filter = ['state', 'time-wait', `( sport = :${first['sourcePort']} )`];
      t.match(await inPod(one, 'ss', '-tnH', ...filter), /:15008/, 'and remembers it');
      t.equal(await inPod(two, 'ss', '-tnH', 'state', 'last-ack'), '', 'the other was answered');
    });
  }

  const viaMark = ['nft', 'delete', 'chain', 'inet', 'weft', 'answer_mark'];
  const ways = [
    { title: 'by the mark of its socket', command: viaMark },
    {
      title: 'by the mark of its connection',
      command: ['sysctl', '-qw', 'net.ipv4.tcp_fwmark_accept=0'],
    },
  ];
  for (const { title, command } of ways) {
    await t.test(`an application's answer comes back ${title}`, async (t) => {
      await inPod(two, ...command);
      for (const family of ['ipv4', 'ipv6'] as const) {
        t.equal(await get(one, two[family], 8080), one[family]);
        await proxies.one.next();
        t.match(await proxies.two.next(), { port: 15008, peer: one[family] });
      }
      await capture.install(netnsPath(two));
    });
  }

  await t.test('an application that marks its own listener is answered for', async (t) => {
    servers.push(await start(two, `${cgroup}/app`, 'app', '8081', '0x7'));
    t.equal(await get(one, two.ipv4, 8081), one.ipv4);
    await proxies.one.next();
    t.match(await proxies.two.next(), { port: 15008, peer: one.ipv4 });
  });

  await t.test('without a cgroup the mark alone exempts', async (t) => {
    const byMark = new NftCapture();
    t.equal(byMark.epoch(), 'mark');
    await byMark.install(netnsPath(one));
    t.equal(await get(one, two.ipv4, 8080, '0x539'), one.ipv4);
    t.match(await proxies.two.next(), { port: 15006, peer: one.ipv4 }, 'seen as plaintext');
  });

  await t.test('a stranger who calls from the port of tunnels is redirected', async (t) => {
    await capture.remove(netnsPath(one));
    await end(proxies.one);
    for (const family of ['ipv4', 'ipv6'] as const) {
      for (const mark of ['0', '0x539']) {
        t.equal(await get(one, two[family], 8080, mark, '15008'), one[family]);
        t.match(await proxies.two.next(), { port: 15006, target: two[family] });
      }
    }
  });

  await t.test('what was installed is taken away whole, twice if asked', async (t) => {
    t.match(await leftovers(two), /table inet weft/);
    await capture.remove(netnsPath(one));
    await capture.remove(netnsPath(two));
    await capture.remove(netnsPath(two));
    t.equal(await leftovers(one), '');
    t.equal(await leftovers(two), '');
    t.equal(await get(one, two.ipv4, 8080), one.ipv4);
  });

  await t.test('a pod that accepted marks by itself still does after the removal', async (t) => {
    await inPod(one, 'sysctl', '-qw', 'net.ipv4.tcp_fwmark_accept=1');
    await capture.install(netnsPath(one));
    await capture.remove(netnsPath(one));
    t.equal(await inPod(one, 'cat', marksSetting), '1\n');
  });

  await t.test('a proxy cgroup that is gone fails the install and captures nothing', async (t) => {
    const lost = new NftCapture(`${cgroup}/lost`);
    await t.rejects(lost.install(netnsPath(one)), { code: 'unavailable' });
    t.equal(await leftovers(one), '');
  });
});
