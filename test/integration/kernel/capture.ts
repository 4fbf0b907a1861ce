// SPDX-License-Identifier: Apache-2.0
// Capture in the kernel: real namespaces, cgroups, programs and engines. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import t from 'tap';
import { PolicyAction, PolicyScope } from '../../../native/index.ts';
import { mustRun, runProgram } from '../../../src/lib/program.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { MeshPair, spiffeId } = await import('../../support/mesh-pair.ts');
const { PodApp } = await import('../../support/pod-app.ts');

const port = 8080;
const families = ['ipv4', 'ipv6'] as const;

t.test('applications of two pods', async (t) => {
  const pair = await MeshPair.start(t);
  const { client, server } = pair;
  await server.app.listen(port);
  await client.app.sniff();

  for (const family of families) {
    await t.test(`see each other as if there were no mesh (${family})`, async (t) => {
      const steps = counterSteps();
      const [near, far] = await pair.connect(port, server[family]);
      t.strictSame(near.peer, [server[family], port], 'the client, the server');
      t.strictSame(near.local, [client[family], near.local[1]], 'and itself by its own address');
      const mapped = family === 'ipv4' ? '::ffff:' : '';
      t.equal(far.peer[0], `${mapped}${client[family]}`, 'the server, the client');
      t.strictSame(far.local, [`${mapped}${server[family]}`, port]);
      await near.write('a secret of the client');
      t.equal(await far.read(22), 'a secret of the client');
      await near.end();
      await far.end();
      t.match(steps(), { outbound_captured: 1, inbound_tunnel: 1, pass_published: 1 });
    });
  }

  await t.test('an IPv6 socket reaches an IPv4 address', async (t) => {
    const host = `::ffff:${server.ipv4}`;
    const [near, far] = await pair.connect(port, host);
    t.strictSame(near.peer, [host, port]);
    t.strictSame(near.local, [`::ffff:${client.ipv4}`, near.local[1]]);
    t.equal(far.peer[0], `::ffff:${client.ipv4}`);
    await near.end();
    await far.end();
  });

  await t.test('nothing of it is readable on the link', async (t) => {
    const { frames, holding } = await client.app.sniffed('a secret of the client');
    t.ok(frames > 0);
    t.equal(holding, 0);
  });

  await t.test('there is neither a rule nor a tracked connection', async (t) => {
    for (const pod of [client, server]) {
      const [nsenter = '', ...inside] = pod.inside;
      t.equal(await mustRun(nsenter, [...inside, 'nft', 'list', 'ruleset']), '');
      const tracked = await runProgram(nsenter, [...inside, 'cat', '/proc/net/nf_conntrack']);
      t.equal(tracked.stdout, '');
    }
  });

  await t.test('a pod reaches itself, by its address and by the loopback', async (t) => {
    const steps = counterSteps();
    await client.app.listen(port + 1);
    for (const host of [client.ipv4, client.ipv6, '127.0.0.1', '::1']) {
      const [near, far] = await Promise.all([
        client.app.connect(host, port + 1),
        client.app.accept(port + 1),
      ]);
      t.match(far.peer[0], new RegExp(`${host}$`));
      await near.end();
      await far.end();
    }
    t.equal(steps()['outbound_captured'], undefined);
  });

  await t.test('a fixed source port serves for two destinations at once', async (t) => {
    await server.app.listen(port + 2);
    for (const to of [port, port + 2]) {
      const how = { sourcePort: 4321 };
      const [near, far] = await Promise.all([
        client.app.connect(server.ipv4, to, how),
        server.app.accept(to),
      ]);
      t.equal(near.local[1], 4321);
      await near.write('x');
      t.equal(await far.read(1), 'x');
    }
  });

  await t.test('a socket that is bound to a device is refused, and counted', async (t) => {
    const steps = counterSteps();
    const how = { device: 'eth0' };
    t.equal(await client.app.failure(server.ipv4, port, how), 'EPERM');
    t.match(steps(), { outbound_refused_device: 1 });
  });

  await t.test('ports run out no sooner than without the mesh', async (t) => {
    const [nsenter = '', ...inside] = client.inside;
    const range = 'net.ipv4.ip_local_port_range=50000 50039';
    await mustRun(nsenter, [...inside, 'sysctl', '-qw', range]);
    // Forty ports; to one destination they are used up by forty connections.
    for (const to of [port, port + 2]) {
      for (let n = 0; n < 30; n++) {
        const [near] = await Promise.all([
          client.app.connect(server.ipv4, to),
          server.app.accept(to),
        ]);
        await near.write('x');
      }
    }
    t.pass('sixty connections over forty ports to two destinations');
  });
});

t.test('what a pod opened before it came stays as it was', async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare', server: 'bare' });
  const { clientPod, serverPod } = pair;
  await serverPod.app.listen(port);
  const [near, far] = await pair.connect(port);
  await KernelCapture.one.capture.install(clientPod.netnsPath);
  await KernelCapture.one.capture.install(serverPod.netnsPath);
  t.teardown(async () => {
    await KernelCapture.one.capture.remove(clientPod.netnsPath);
    await KernelCapture.one.capture.remove(serverPod.netnsPath);
  });
  await near.write('still here');
  t.equal(await far.read(10), 'still here');
  t.equal(await clientPod.app.failure(serverPod.ipv4, port), 'ECONNREFUSED', 'no proxy listens');
  await KernelCapture.one.capture.remove(clientPod.netnsPath);
  const steps = counterSteps();
  t.equal(await clientPod.app.failure(serverPod.ipv4, port), 'ECONNREFUSED', 'nor does one here');
  t.match(steps(), { inbound_refused_no_listener: 1 });
  await KernelCapture.one.capture.remove(serverPod.netnsPath);
  const [again, there] = await pair.connect(port);
  await again.write('x');
  t.equal(await there.read(1), 'x', 'and all is as it was before');
});

t.test('strangers and probes', async (t) => {
  const pair = await MeshPair.start(t, { client: 'bare' });
  const { clientPod, server } = pair;
  await server.app.listen(port);
  await server.app.echo(port + 1);

  await t.test('plaintext from outside passes by the proxy, with the source kept', async (t) => {
    const steps = counterSteps();
    const [near, far] = await pair.connect(port, server.ipv4);
    t.equal(far.peer[0], `::ffff:${clientPod.ipv4}`);
    await near.end();
    await far.end();
    t.match(steps(), { inbound_captured: 1, pass_published: 1, inbound_passed: 1 });
  });

  await t.test('the kubelet reaches the application itself, and only it does', async (t) => {
    const principals = [{ match: { case: 'exact', value: spiffeId('client').slice(9) } }] as const;
    pair.apply({
      policies: [
        {
          key: 'demo/identity',
          namespace: 'demo',
          scope: PolicyScope.SCOPE_NAMESPACE,
          action: PolicyAction.ACTION_ALLOW,
          rules: [{ clauses: [{ matches: [{ principals: [...principals] }] }] }],
        },
      ],
    });
    const kubelet = new PodApp(clientPod.netnsPath, KernelCapture.one.kubelet);
    t.teardown(() => kubelet.stop());
    for (const family of families) {
      const steps = counterSteps();
      const probe = await kubelet.connect(server[family], port + 1);
      await probe.write('alive?');
      t.equal(await probe.read(6), 'alive?');
      const { local } = probe;
      await probe.reset();
      t.match(steps(), { pass_published: 1, inbound_passed: 1 }, family);
      t.equal(steps()['inbound_captured'], undefined);
      const same = { sourcePort: local[1] };
      const replay = clientPod.app.failure(server[family], port + 1, same);
      t.match(await replay, /ECONNRESET|0 bytes/, 'its tuple is good for nobody else');
      t.match(steps(), { inbound_captured: 1 });
    }
  });
});
