// SPDX-License-Identifier: Apache-2.0
// The process `weft cni`.
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { Command, CommanderError } from 'commander';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import {
  type ListenAddress,
  listenAddressOf,
  listenAddressPattern,
} from '../lib/listen-address.ts';
import { createLog, type Logger, type LogLevel, logLevels } from '../lib/log.ts';
import { cgroup2RootOf } from '../lib/machine.ts';
import { defaultPins } from '../lib/node-places.ts';
import { bypassWays, sameNodeWays } from '../lib/pod-settings.ts';
import { ports } from '../lib/ports.ts';
import { type StatusServer, serveMetrics } from '../lib/status-server.ts';
import { prepareSocketFolder } from '../lib/unix-socket.ts';
import { Agent } from './agent.ts';
import { serveApi } from './api.ts';
import { type ChosenCapture, captureModes, chooseCapture } from './capture-choice.ts';
import { captureMetrics, metricsType } from './capture-metrics.ts';
import type { CaptureProbe } from './capture-probe.ts';
import { agentFiles } from './leave.ts';
import { loadMeshConfig, saveMeshConfig } from './mesh-file.ts';
import { type PodEnrolment, whenProxyDownWays } from './pod.ts';
import { loadPods, savePods } from './pod-file.ts';
import { ZdsServer } from './zds-server.ts';

const schema = z.object({
  node: z.string().min(1),
  zds: z.string().min(1).max(107, 'is too long for a socket path'),
  api: z.string().min(1).max(107, 'is too long for a socket path'),
  proxyCgroup: z.string().optional(),
  capture: z.enum(captureModes),
  bpfPins: z.string().startsWith('/', 'is no absolute path'),
  podsCgroup: z.string().optional(),
  sameNode: z.enum(sameNodeWays),
  bypass: z.enum(bypassWays),
  probeCgroup: z.string().optional(),
  whenProxyDown: z.enum(whenProxyDownWays),
  metrics: z
    .string()
    .regex(listenAddressPattern, 'is not ADDR:PORT')
    .transform(listenAddressOf)
    .refine(({ port }) => port <= 65535, 'port is over 65535'),
  logLevel: z.enum(logLevels),
});

type Config = z.infer<typeof schema>;

function parse(argv: readonly string[]): Config {
  const command = new Command('weft cni')
    .description("enrol pods' network namespaces and hand them to the node proxy")
    .requiredOption('--node <name>', 'the name of this node')
    .requiredOption('--zds <path>', 'the socket that the node proxy connects to')
    .requiredOption('--api <path>', 'the HTTP socket for container runtimes')
    .option('--proxy-cgroup <folder>', "the node proxy's cgroup v2 folder, whose traffic is exempt")
    .option('--capture <how>', captureModes.join(', '), 'auto' satisfies Config['capture'])
    .option('--bpf-pins <folder>', 'where capture in the kernel is pinned', defaultPins)
    .option('--same-node <way>', 'connect pods of this node: direct, tunnel', 'direct')
    .option('--bypass <way>', 'what direct connections leave out: none, sockmap (TCP)', 'none')
    .option('--pods-cgroup <folder>', "a cgroup v2 above all pods' processes (the root)")
    .option('--probe-cgroup <folder>', 'that of the kubelet, whose probes reach applications')
    .option('--when-proxy-down <way>', 'connections that pods open: refuse, pass', 'refuse')
    .option('--metrics <addr:port>', 'where metrics are served', `[::]:${ports.agentMetrics}`)
    .option('--log-level <level>', logLevels.join(', '), 'info' satisfies LogLevel)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  command.parse([...argv], { from: 'user' });
  return schema.parse(command.opts());
}

function usageOf(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map((issue) => `--${issue.path.join('.')} ${issue.message}`).join('; ');
  }
  return MeshError.from(error).message.replace(/^error: /, '');
}

function captureOf(config: Config, log: Logger): Promise<ChosenCapture> {
  const { capture: mode, bpfPins: pins, proxyCgroup, probeCgroup } = config;
  const { sameNode, whenProxyDown, bypass } = config;
  const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8'));
  const podsCgroup = config.podsCgroup ?? root ?? '';
  const places = { pins, podsCgroup, proxyCgroup, probeCgroup };
  return chooseCapture({ mode, ...places, sameNode, whenProxyDown, bypass }, log);
}

// A scrape that nobody can make must not keep pods from being captured.
async function serveTier(
  address: ListenAddress,
  report: CaptureProbe,
  log: Logger,
): Promise<StatusServer | undefined> {
  const text = captureMetrics(report);
  try {
    const source = { contentType: metricsType, text: async () => text };
    const server = await serveMetrics(address, source);
    log.info({ metrics: server.port }, 'listening');
    return server;
  } catch (error) {
    log.warn({ reason: MeshError.from(error).message }, 'metrics are not served');
    return undefined;
  }
}

async function serve(config: Config, log: Logger): Promise<{ api: Server; close(): void }> {
  const native = await import('../../native/index.ts');
  const { pods: podFile, mesh: meshFile } = agentFiles(config.api);
  prepareSocketFolder(config.api);
  prepareSocketFolder(config.zds);
  const { capture, report, node } = await captureOf(config, log);
  const zds = new ZdsServer({
    pods: () => agent.snapshot(),
    onMeshConfig: (mesh) => void agent.setMesh(mesh),
    closeFd: native.closeFd,
    log,
  });
  const agent = new Agent({
    capture,
    proxies: zds,
    openPath: native.openPath,
    closeFd: native.closeFd,
    save: (pods) => savePods(podFile, pods),
    mesh: loadMeshConfig(meshFile),
    saveMesh: (mesh) => saveMeshConfig(meshFile, mesh),
    log,
  });
  const pods = loadPods(podFile);
  // The API first: it is what refuses a second agent, before anything is touched.
  const face = {
    list: () => agent.list(),
    capture: () => report,
    settings: () => agent.settings(node),
    enrol: (pod: PodEnrolment) => agent.enrol(pod),
    unenrol: (uid: string, netns?: string) => agent.unenrol(uid, netns),
  };
  const api = await serveApi(config.api, face, () => zds.ready, log);
  const metrics = await serveTier(config.metrics, report, log);
  await agent.restore(pods);
  const listener = native.listenPackets(config.zds, (packets) => zds.accept(packets));
  return {
    api,
    close: () => {
      listener.close();
      metrics?.close().catch(() => undefined);
      zds.close();
      api.close();
      api.closeAllConnections();
    },
  };
}

/**
 * Runs the node agent until SIGTERM or SIGINT. Pods stay captured when it ends. Returns the exit
 * code: 0 after a stop, 1 when it cannot start, 2 for bad flags, 3 when this machine cannot.
 */
export async function main(argv: readonly string[]): Promise<number> {
  let config: Config;
  try {
    config = parse(argv);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) {
      return 0;
    }
    process.stderr.write(`weft: ${usageOf(error)}\n`);
    return 2;
  }
  const log = createLog('cni', config.logLevel);
  const stopped = new Promise<string>((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    process.once('SIGINT', () => resolve('SIGINT'));
  });
  try {
    const server = await serve(config, log);
    log.info({ node: config.node, api: config.api }, 'ready');
    log.info({ signal: await stopped }, 'stopping');
    server.close();
    return 0;
  } catch (thrown) {
    const error = MeshError.from(thrown);
    log.fatal({ code: error.code, reason: error.message }, 'cannot start');
    return error.code === 'unsupported' ? 3 : 1;
  }
}
