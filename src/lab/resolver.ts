// SPDX-License-Identifier: Apache-2.0
// The lab's DNS outside of the mesh: a resolver beside the control plane, which knows one name, and
// what makes each pod ask it as a Kubernetes pod would.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LabNames, LabPlan, PodPlan } from './topology.ts';

/** The name that the lab's resolver knows, and its address. */
export const outside = { name: 'outside.example', address: '192.0.2.53' } as const;

/** The addresses of the resolvers that pods are given. */
export function nameserversOf(plan: LabPlan): string[] {
  return [plan.control.ipv4];
}

/** The command line of the lab's resolver, which runs in the control plane's namespace. */
export function resolverCommand({ control }: LabPlan): string[] {
  const listen = [`--listen-address=${control.ipv4}`, '--bind-interfaces'];
  const own = ['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv'];
  const rest = ['--user=root', '--log-facility=-', '--pid-file', '--local=/#/'];
  const records = `--host-record=${outside.name},${outside.address}`;
  return ['dnsmasq', ...own, ...rest, ...listen, records];
}

/** Where a pod's resolver configuration lies. */
export function resolvConfOf(names: LabNames, pod: string): string {
  return join(names.folder, 'pods', pod, 'resolv.conf');
}

/** Writes a pod's resolver configuration as the kubelet does; its folder has to be there. */
export function writeResolvConf(plan: LabPlan, { name, namespace }: PodPlan): void {
  const cluster = 'cluster.local';
  const search = `search ${namespace}.svc.${cluster} svc.${cluster} ${cluster}`;
  const servers = nameserversOf(plan).map((address) => `nameserver ${address}`);
  const text = [search, ...servers, 'options ndots:5', ''].join('\n');
  writeFileSync(resolvConfOf(plan.names, name), text);
}

// The shell's text is constant. Nothing can be mounted where nothing is; a machine without that file
// is used as it is, and rows about names then fail.
const mountAndRun =
  'if [ -e /etc/resolv.conf ]; then mount --bind "$0" /etc/resolv.conf || exit 1; fi; exec "$@"';

/** The command line that runs `command` with `resolvConf` in the place of the machine's own. */
export function withResolvConf(resolvConf: string, command: readonly string[]): string[] {
  return ['unshare', '--mount', 'sh', '-c', mountAndRun, resolvConf, ...command];
}
