// SPDX-License-Identifier: Apache-2.0
// A third pod beside a pair, with a link of its own to the server.
import type { Test } from 'tap';
import { mustRun } from '../../src/lib/program.ts';
import { KernelCapture } from './kernel-capture.ts';
import type { BarePod } from './mesh-pair.ts';
import { makeNetNamespace } from './net-namespace.ts';
import { PodApp } from './pod-app.ts';

/** Root in it may do with its own network whatever it likes. */
export interface Stranger {
  readonly ipv4: string;
  readonly netnsPath: string;
  readonly app: PodApp;
}

/**
 * It ends with the test. It is captured by nobody, reaches the server's own address, and is what the
 * server finds at `ipv4`, whoever was there before.
 */
export async function addStranger(
  test: Test,
  server: BarePod,
  ipv4 = '10.9.1.3',
): Promise<Stranger> {
  const own = await makeNetNamespace();
  const at = (path: string, lines: readonly string[]): Promise<string> =>
    mustRun('nsenter', [`--net=${path}`, '--', 'ip', '-batch', '-'], { input: lines.join('\n') });
  const mac = { own: '02:00:00:00:01:03', server: '02:00:00:00:01:02' };
  const peer = `peer name eth0 address ${mac.own} netns ${own.path}`;
  await at(server.netnsPath, [
    `link add eth1 address ${mac.server} type veth ${peer}`,
    'link set eth1 up',
    `route add ${ipv4} dev eth1`,
    `neighbour add ${ipv4} lladdr ${mac.own} dev eth1`,
  ]);
  await at(own.path, [
    'link set lo up',
    `address add ${ipv4}/32 dev eth0`,
    'link set eth0 up',
    `route add ${server.ipv4} dev eth0`,
    `neighbour add ${server.ipv4} lladdr ${mac.server} dev eth0`,
  ]);
  for (const device of ['all', 'eth1']) {
    const loose = `net.ipv4.conf.${device}.rp_filter=0`;
    await mustRun('nsenter', [`--net=${server.netnsPath}`, '--', 'sysctl', '-qw', loose]);
  }
  const app = new PodApp(own.path, KernelCapture.one.apps);
  test.teardown(async () => {
    await KernelCapture.one.capture.giveWay(own.path);
    await app.stop();
    await own.close();
  });
  return { ipv4, netnsPath: own.path, app };
}
