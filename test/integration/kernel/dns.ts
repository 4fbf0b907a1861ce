// SPDX-License-Identifier: Apache-2.0
// A pod's questions, captured in the kernel: the node's resolver answers them, in the name of whom
// was asked, and asks the pod's own resolver what it does not know. Needs root, dnsmasq and dig.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { closeSync } from 'node:fs';
import t from 'tap';
import { closeFd, openPath } from '../../../native/index.ts';
import { createLog } from '../../../src/lib/log.ts';
import { proxyMark } from '../../../src/lib/ports.ts';
import { DnsProxy, heapMiBMax } from '../../../ztunnel/dns/proxy.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { PodApp } = await import('../../support/pod-app.ts');
const { ResolverPair, resolverAddresses, resolverPrograms } = await import(
  '../../support/resolver-pair.ts'
);

const dnsPort = 53;
const { resolver, pod } = resolverAddresses;
/** Where there is no machine at all. */
const nobody = { ipv4: '10.8.0.77', ipv6: 'fd08::77' };
const inMesh = { name: 'web.demo.svc.cluster.local', address: '\x0a\x60\x00\x0a' };
const outside = { name: 'outside.example', address: '\xc0\x00\x02\x07' };

/** A question for the IPv4 address of `name`. */
function queryOf(name: string): string {
  const labels = name.split('.').map((label) => String.fromCharCode(label.length) + label);
  return `\x12\x34\x01\x00\x00\x01${'\x00'.repeat(6)}${labels.join('')}\x00\x00\x01\x00\x01`;
}

await t.test('questions of a pod', { skip: (await resolverPrograms()) ?? false }, async (t) => {
  const pair = await ResolverPair.start(t);
  await pair.serve('--host-record=outside.example,192.0.2.7');
  const dns = new DnsProxy({
    clusterDomain: 'cluster.local',
    mark: proxyMark,
    names: () => [
      {
        ...{ kind: 'service', key: 'demo/web', hostname: inMesh.name, namespace: 'demo' },
        ...{ addresses: ['10.96.0.10'], isPrivate: false, canonical: false, allEndpoints: false },
      },
    ],
    nameservers: [],
    heapMiB: heapMiBMax,
    reopen: (fd) => openPath(`/proc/self/fd/${fd}`),
    closeFd,
    log: createLog('test', 'silent'),
  });
  t.teardown(() => dns.close());
  const netns = openPath(pair.podPath);
  await dns.addPod({ uid: 'u1', namespace: 'demo', netns, nameservers: [resolver.ipv4] });
  closeSync(netns);
  const app = new PodApp(pair.podPath, KernelCapture.one.apps);
  t.teardown(() => app.stop());

  for (const family of ['ipv4', 'ipv6'] as const) {
    for (const connected of [true, false]) {
      const socket = connected ? 'connected' : 'unconnected';
      for (const host of [resolver[family], nobody[family]]) {
        await t.test(`are answered as by ${host} (${socket} UDP)`, async (t) => {
          for (const { name, address } of [inMesh, outside]) {
            const steps = counterSteps();
            const answer = await app.question(host, dnsPort, queryOf(name), connected);
            t.ok(answer.text.endsWith(address), name);
            t.strictSame(answer.from, [host, dnsPort]);
            t.match(steps(), { dns_captured: 1 }, 'and the proxy asks for itself');
          }
        });
      }
    }

    await t.test(`are answered as by whom was asked (TCP, ${family})`, async (t) => {
      const steps = counterSteps();
      const host = nobody[family];
      const stream = await app.connect(host, dnsPort);
      t.strictSame(stream.peer, [host, dnsPort]);
      t.equal(stream.local[0], pod[family]);
      for (const { name, address } of [inMesh, outside]) {
        const query = queryOf(name);
        await stream.write(`\x00${String.fromCharCode(query.length)}${query}`);
        const length = await stream.read(2);
        const bytes = length.charCodeAt(0) * 256 + length.charCodeAt(1);
        t.ok((await stream.read(bytes)).endsWith(address), name);
      }
      t.match(steps(), { dns_captured: 1 });
      await stream.reset();
    });
  }

  await t.test('of dig, which minds who answers', async (t) => {
    const answer = await pair.dig('+short', `@${nobody.ipv4}`, outside.name);
    t.equal(answer.trim(), '192.0.2.7');
  });

  await t.test('that go to another port, or to the pod itself, are its own', async (t) => {
    const steps = counterSteps();
    for (const [host, port] of [
      ['127.0.0.1', dnsPort],
      [pod.ipv4, dnsPort],
      [resolver.ipv4, dnsPort + 1],
    ] as const) {
      await t.rejects(app.question(host, port, queryOf(inMesh.name), true), /ECONNREFUSED/, host);
    }
    t.equal(steps()['dns_captured'], undefined);
  });
});
