// SPDX-License-Identifier: Apache-2.0
// dig in a real, captured pod; dnsmasq as its resolver; the DNS thread between them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { closeFd, openPath } from '../../../native/index.ts';
import { createLog } from '../../../src/lib/log.ts';
import { proxyMark } from '../../../src/lib/ports.ts';
import type { NameChange } from '../../../ztunnel/dns/names.ts';
import { DnsProxy, heapMiBMax } from '../../../ztunnel/dns/proxy.ts';
import { ResolverPair, resolverAddresses, resolverPrograms } from '../../support/resolver-pair.ts';

const skip = (await resolverPrograms()) ?? false;

const service = (
  hostname: string,
  addresses: readonly string[],
  namespace = 'demo',
): NameChange => ({
  ...{ kind: 'service', key: `${namespace}/${hostname}`, hostname, namespace, addresses },
  ...{ isPrivate: false, canonical: false, allEndpoints: false },
});

const endpoint = (key: string, addresses: readonly string[], hostname = ''): NameChange => ({
  ...{ kind: 'workload', key, hostname, addresses, healthy: true },
  services: ['demo/db.demo.svc.cluster.local'],
});

const mesh: readonly NameChange[] = [
  service('web.demo.svc.cluster.local', ['10.96.0.10', 'fd96::10']),
  service('four.demo.svc.cluster.local', ['10.96.0.11']),
  service('db.demo.svc.cluster.local', []),
  service('*.wild.example', ['10.96.0.12']),
  ...Array.from({ length: 40 }, (_, index) =>
    endpoint(
      `db-${index}`,
      [`10.7.0.${index + 1}`, `fd07::${(index + 1).toString(16)}`],
      `db-${index}.db.demo.svc.cluster.local`,
    ),
  ),
];

async function setUp(
  t: Test,
  nameservers: readonly string[] = [resolverAddresses.resolver.ipv4],
  heapMiB: number = heapMiBMax,
) {
  const pair = await ResolverPair.start(t);
  const known = new Map(mesh.map((name) => [name.key, name]));
  const proxy = new DnsProxy({
    clusterDomain: 'cluster.local',
    mark: proxyMark,
    names: () => [...known.values()],
    nameservers: [],
    heapMiB,
    reopen: (fd) => openPath(`/proc/self/fd/${fd}`),
    closeFd,
    log: createLog('test', 'silent'),
  });
  t.teardown(() => proxy.close());
  const netns = openPath(pair.podPath);
  await proxy.addPod({ uid: 'u1', namespace: 'demo', netns, nameservers });
  closeSync(netns);
  return { pair, proxy };
}

t.test('mesh names', { skip }, async (t) => {
  const { pair } = await setUp(t);

  t.test('a service answers with its addresses, authoritative and for 30 s', async (t) => {
    const said = await pair.dig('web.demo.svc.cluster.local', 'A');
    t.match(said, /status: NOERROR/);
    t.match(said, /flags: qr aa rd ra;/);
    t.match(said, /web\.demo\.svc\.cluster\.local\.\s+30\s+IN\s+A\s+10\.96\.0\.10/);
    t.equal(await pair.dig('+short', 'web.demo.svc.cluster.local', 'AAAA'), 'fd96::10\n');
  });

  t.test('by IPv6 and by TCP it is the same', async (t) => {
    const six = `@${resolverAddresses.resolver.ipv6}`;
    t.equal(await pair.dig(six, '+short', 'web.demo.svc.cluster.local'), '10.96.0.10\n');
    t.equal(await pair.dig('+tcp', '+short', 'web.demo.svc.cluster.local'), '10.96.0.10\n');
    t.equal(await pair.dig(six, '+tcp', '+short', 'web.demo.svc.cluster.local'), '10.96.0.10\n');
  });

  t.test('a mesh name without such an address has no data, with a SOA', async (t) => {
    const said = await pair.dig('four.demo.svc.cluster.local', 'AAAA');
    t.match(said, /status: NOERROR/);
    t.match(said, /ANSWER: 0, AUTHORITY: 1/);
    t.match(said, /cluster\.local\.\s+30\s+IN\s+SOA/);
  });

  t.test('names of one label and those that end in svc are completed', async (t) => {
    t.equal(await pair.dig('+short', 'web'), '10.96.0.10\n');
    t.equal(await pair.dig('+short', 'web.demo.svc'), '10.96.0.10\n');
  });

  t.test('what could be a real domain is not taken for a short name', async (t) => {
    t.match(await pair.dig('web.demo'), /status: (NXDOMAIN|SERVFAIL)/);
  });

  t.test('a wildcard host answers for what is below it', async (t) => {
    t.equal(await pair.dig('+short', 'a.b.wild.example'), '10.96.0.12\n');
  });

  t.test('a pod has its own name below a headless service', async (t) => {
    t.equal(await pair.dig('+short', 'db-3.db.demo.svc.cluster.local'), '10.7.0.4\n');
  });
});

t.test('the limits of an answer', { skip }, async (t) => {
  const { pair } = await setUp(t);
  const headless = 'db.demo.svc.cluster.local';

  t.test('over 512 bytes without EDNS it is truncated, and whole by TCP', async (t) => {
    const cut = await pair.dig('+noedns', '+ignore', headless);
    t.match(cut, /flags: qr aa tc rd ra; QUERY: 1, ANSWER: 0/);
    const whole = await pair.dig('+noedns', '+short', headless);
    t.equal(whole.trim().split('\n').length, 40, 'dig went on to TCP');
  });

  t.test('with EDNS it may be as long as the client says', async (t) => {
    const said = await pair.dig('+ignore', '+bufsize=1232', headless);
    t.match(said, /flags: qr aa rd ra; QUERY: 1, ANSWER: 40/);
    t.match(said, /EDNS: version: 0, flags:; udp: 1232/);
    t.match(await pair.dig('+ignore', '+bufsize=600', headless), /flags: qr aa tc rd ra;/);
  });

  t.test('the DO bit is echoed and a later EDNS version refused', async (t) => {
    t.match(await pair.dig('+dnssec', headless), /EDNS: version: 0, flags: do;/);
    const late = await pair.dig('+edns=1', '+noednsnegotiation', headless);
    t.match(late, /status: BADVERS/);
  });

  t.test('endpoints come in another order each time', async (t) => {
    const orders = new Set<string>();
    for (let i = 0; i < 4; i += 1) {
      orders.add(await pair.dig('+short', headless));
    }
    t.ok(orders.size > 1);
  });
});

t.test("the pod's own resolver", { skip }, async (t) => {
  const { pair, proxy } = await setUp(t);
  const text = Array.from({ length: 8 }, (_, i) => `${i}`.repeat(200)).join(',');
  await pair.serve(
    ...['--host-record=outside.example,192.0.2.7,2001:db8::7', '--txt-record=small.example,hello'],
    `--txt-record=big.example,${text}`,
  );

  t.test('answers what is not of the mesh, by UDP and TCP', async (t) => {
    t.equal(await pair.dig('+short', 'outside.example'), '192.0.2.7\n');
    t.equal(await pair.dig('+short', '+tcp', 'outside.example', 'AAAA'), '2001:db8::7\n');
    t.match(await pair.dig('none.example'), /status: NXDOMAIN/);
  });

  t.test('answers other types, and its NXDOMAIN for a mesh name means no data', async (t) => {
    t.equal(await pair.dig('+short', 'small.example', 'TXT'), '"hello"\n');
    const said = await pair.dig('web.demo.svc.cluster.local', 'TXT');
    t.match(said, /status: NOERROR/);
    t.match(said, /ANSWER: 0/);
  });

  t.test('sends the client to TCP by itself', async (t) => {
    t.match(await pair.dig('+ignore', '+bufsize=512', 'big.example', 'TXT'), / tc /);
    t.ok((await pair.dig('+short', 'big.example', 'TXT')).length > 1600);
  });

  t.test('is asked from the pod, whatever server the application names', async (t) => {
    t.equal(await pair.dig('@203.0.113.9', '+short', 'outside.example'), '192.0.2.7\n');
  });

  t.test('requests are counted for the pod', async (t) => {
    const counts = (await proxy.counts()).get('u1');
    t.ok((counts?.requests ?? 0) >= 8);
    t.ok((counts?.upstreamRequests ?? 0) >= 7);
    t.equal(counts?.upstreamFailures, 0);
  });
});

t.test('resolvers that do not answer', { skip }, async (t) => {
  const { resolver, pod } = resolverAddresses;
  // The first two are refused at once: nobody listens at port 53 of the pod itself.
  const { pair, proxy } = await setUp(t, [pod.ipv4, pod.ipv6, resolver.ipv6]);
  t.test('are passed over', async (t) => {
    await pair.serve('--host-record=outside.example,192.0.2.7');
    t.equal(await pair.dig('+short', 'outside.example'), '192.0.2.7\n');
  });
  t.test('leave the mesh names as they are', async (t) => {
    const netns = openPath(pair.podPath);
    await proxy.addPod({ uid: 'u1', namespace: 'demo', netns, nameservers: [pod.ipv4] });
    closeSync(netns);
    t.match(await pair.dig('outside.example'), /status: SERVFAIL/);
    t.equal(await pair.dig('+short', 'web'), '10.96.0.10\n');
    t.equal((await proxy.counts()).get('u1')?.upstreamFailures, 1);
  });
});

t.test('a port that the application just used is no trap for the proxy', { skip }, async (t) => {
  const { pair, proxy } = await setUp(t);
  await pair.serve('--host-record=outside.example,192.0.2.7');
  // Two ports are all that the kernel can choose from, and the application used both.
  await pair.inPod('sysctl', '-qw', 'net.ipv4.ip_local_port_range=40000 40001');
  const own = resolverAddresses.pod.ipv4;
  const ports = [40000, 40001, 50000, 50001, 40000, 40001];
  for (const port of ports) {
    const said = await pair.dig('-b', `${own}#${port}`, '+short', 'outside.example', 'web');
    t.equal(said, '192.0.2.7\n10.96.0.10\n', `from port ${port}`);
  }
  const { requests, upstreamRequests } = (await proxy.counts()).get('u1') ?? {};
  t.equal(requests, 2 * ports.length, 'each query came to the proxy once');
  t.equal(upstreamRequests, ports.length);
});

/** Has the DNS thread run out of memory. */
async function die(proxy: DnsProxy): Promise<void> {
  const many = Array.from({ length: 100_000 }, (_, i) => service(`s${i}.example`, ['10.0.0.1']));
  proxy.update(many);
  proxy.update(many.map(({ key }) => ({ kind: 'gone', key })));
  while (proxy.restarts === 0) {
    await proxy.counts();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function served(proxy: DnsProxy): Promise<void> {
  while (!(await proxy.counts()).has('u1')) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test('a DNS thread that dies comes back with its names and pods', { skip }, async (t) => {
  const { pair, proxy } = await setUp(t, [], 40);
  t.equal(await pair.dig('+short', 'web'), '10.96.0.10\n');
  await die(proxy);
  // What is asked now waits until the pods are added again.
  await served(proxy);
  t.equal(await pair.dig('+short', 'web'), '10.96.0.10\n');
});

// Binds the port as soon as nobody has it, says so, and keeps it until its input ends.
const taker = `
import socket, sys
taken = None
while taken is None:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.bind(("127.0.0.1", 15053))
        taken = made
    except OSError:
        made.close()
print("taken", flush=True)
sys.stdin.read()
`;

t.test('a pod whose port was taken meanwhile is served when it is free', { skip }, async (t) => {
  const { pair, proxy } = await setUp(t, [], 40);
  const inside = [`--net=${pair.podPath}`, '--', '/usr/bin/python3', '-c', taker];
  const child = spawn('nsenter', inside, { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => child.kill());
  const taken = once(child.stdout, 'data');
  await die(proxy);
  await taken;
  t.notOk((await proxy.counts()).has('u1'));
  child.stdin.end();
  await served(proxy);
  t.equal(await pair.dig('+short', 'web'), '10.96.0.10\n');
});
