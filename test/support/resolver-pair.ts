// SPDX-License-Identifier: Apache-2.0
// A pod's namespace, captured, and beside it one in which dnsmasq answers as the pod's resolver.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';
import { NftCapture } from '../../src/cni/capture-nft.ts';
import { mustRun, type ProgramResult, runProgram } from '../../src/lib/program.ts';
import { isKernelRun, KernelCapture } from './kernel-capture.ts';
import { makeNetNamespace, type NetNamespace } from './net-namespace.ts';
import { inCgroup } from './pod-app.ts';

/** The programs that the pair needs; undefined when one is missing. */
export async function resolverPrograms(): Promise<string | undefined> {
  for (const name of ['dig', 'dnsmasq']) {
    const found = await runProgram(name, ['-v']).catch(() => undefined);
    if (found === undefined) {
      return `needs ${name}`;
    }
  }
  return undefined;
}

/** Addresses are the same in each pair: no namespace sees another pair's. */
export const resolverAddresses = {
  pod: { ipv4: '10.8.0.1', ipv6: 'fd08::1', mac: '02:00:00:00:08:01' },
  resolver: { ipv4: '10.8.0.2', ipv6: 'fd08::2', mac: '02:00:00:00:08:02' },
} as const;

async function link(pod: NetNamespace, resolver: NetNamespace): Promise<void> {
  const { pod: near, resolver: far } = resolverAddresses;
  const at = (path: string, ...command: string[]): Promise<string> =>
    mustRun('nsenter', [`--net=${path}`, '--', ...command]);
  const end = (mac: string): string[] => ['name', 'eth0', 'address', mac];
  const peer = ['peer', ...end(far.mac), 'netns', resolver.path];
  await at(pod.path, 'ip', 'link', 'add', ...end(near.mac), 'type', 'veth', ...peer);
  for (const [{ path }, own, other] of [
    [pod, near, far],
    [resolver, far, near],
  ] as const) {
    const lines = [
      'link set lo up',
      `address add ${own.ipv4}/24 dev eth0`,
      `address add ${own.ipv6}/64 dev eth0 nodad`,
      'link set eth0 up',
      `neighbour add ${other.ipv4} lladdr ${other.mac} dev eth0`,
      `neighbour add ${other.ipv6} lladdr ${other.mac} dev eth0`,
      'route add default dev eth0',
      'route add ::/0 dev eth0',
    ];
    const input = lines.join('\n');
    await mustRun('nsenter', [`--net=${path}`, '--', 'ip', '-batch', '-'], { input });
  }
}

/** What runs dnsmasq so that it ends with us, however we end. */
const keeper = '"$@" & child=$!; cat >/dev/null; kill $child';

/** Both namespaces; everything ends with the test. */
export class ResolverPair {
  readonly podPath: string;
  readonly resolverPath: string;
  readonly #test: Test;

  private constructor(test: Test, podPath: string, resolverPath: string) {
    this.#test = test;
    this.podPath = podPath;
    this.resolverPath = resolverPath;
  }

  /** A captured pod and a resolver's namespace, in which nothing listens yet. */
  static async start(test: Test): Promise<ResolverPair> {
    const pod = await makeNetNamespace();
    const resolver = await makeNetNamespace();
    test.teardown(async () => {
      await pod.close();
      await resolver.close();
    });
    await link(pod, resolver);
    const capture = isKernelRun ? KernelCapture.one.capture : new NftCapture();
    await capture.install(pod.path);
    return new ResolverPair(test, pod.path, resolver.path);
  }

  /** Starts dnsmasq with these records; it answers when this resolves. */
  async serve(...records: string[]): Promise<void> {
    const { ipv4, ipv6 } = resolverAddresses.resolver;
    const listen = [`--listen-address=${ipv4}`, `--listen-address=${ipv6}`, '--bind-interfaces'];
    const own = ['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv'];
    const rest = ['--user=root', '--log-facility=-', '--local=/#/', ...listen, ...records];
    const command = ['nsenter', `--net=${this.resolverPath}`, '--', 'dnsmasq', ...own, ...rest];
    const child = spawn('sh', ['-c', keeper, 'sh', ...command], {
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    this.#test.teardown(async () => {
      child.stdin.end();
      await once(child, 'exit');
    });
    let said = '';
    for await (const chunk of child.stderr) {
      said += String(chunk);
      if (said.includes('started')) {
        child.stderr.resume();
        return;
      }
    }
    throw new Error(`dnsmasq: ${said}`);
  }

  /** Runs a program in the pod. */
  inPod(...command: string[]): Promise<ProgramResult> {
    const inside = ['nsenter', `--net=${this.podPath}`, '--', ...command];
    const [file = '', ...args] = isKernelRun
      ? [...inCgroup(KernelCapture.one.apps), ...inside]
      : inside;
    return runProgram(file, args);
  }

  /** Runs dig in the pod, asking the resolver's address. */
  async dig(...args: string[]): Promise<string> {
    const { ipv4 } = resolverAddresses.resolver;
    const server = args.some((arg) => arg.startsWith('@')) ? [] : [`@${ipv4}`];
    const result = await this.inPod('dig', '+tries=1', '+time=8', ...server, ...args);
    return result.stdout;
  }
}
