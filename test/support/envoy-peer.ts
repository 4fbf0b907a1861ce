// SPDX-License-Identifier: Apache-2.0
// Envoy as an HBONE peer: as a client that tunnels what reaches its listener, and as a server that
// terminates CONNECT. It shares no code with Weft but BoringSSL's ancestry with AWS-LC.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import type { Test } from 'tap';
import {
  bootstrap,
  type Config,
  clientTls,
  http2Upstream,
  type SidecarIdentity,
  serverTls,
} from '../../src/bench/sidecars/envoy-config.ts';
import { envoyProgram } from '../../src/bench/sidecars/envoy-install.ts';
import { listens } from '../../src/lab/process-set.ts';
import { MeshError } from '../../src/lib/error.ts';
import type { BarePod } from './mesh-pair.ts';

const startMsMax = 20_000;
const typeOf = (name: string): Config => ({ '@type': `type.googleapis.com/${name}` });

/** Envoy's program, or why a test has to be skipped. */
export async function envoyOrReason(): Promise<{ program: string } | { reason: string }> {
  if (process.getuid?.() !== 0) {
    return { reason: 'needs root' };
  }
  try {
    return { program: await envoyProgram(() => undefined) };
  } catch (error) {
    return { reason: `no Envoy on this machine: ${MeshError.from(error).message}` };
  }
}

function address(host: string, port: number): Config {
  return { socket_address: { address: host, port_value: port } };
}

/** One way in: where an application connects, and the authority that is asked for. */
export interface Tunnelled {
  readonly listen: number;
  readonly authority: string;
}

/** An HBONE client: each listener on the loopback tunnels to its authority through `to`. */
export function hboneClient(
  identity: SidecarIdentity,
  to: { readonly host: string; readonly port: number },
  ways: readonly Tunnelled[],
): string {
  const listeners = ways.map(({ listen, authority }) => ({
    name: `way-${listen}`,
    address: address('127.0.0.1', listen),
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.tcp_proxy',
            typed_config: {
              ...typeOf('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
              stat_prefix: 'way',
              cluster: 'hbone',
              tunneling_config: { hostname: authority },
            },
          },
        ],
      },
    ],
  }));
  const endpoint = { endpoint: { address: address(to.host, to.port) } };
  const cluster = {
    name: 'hbone',
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: { cluster_name: 'hbone', endpoints: [{ lb_endpoints: [endpoint] }] },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2Upstream,
    },
    transport_socket: clientTls(identity, { alpn: ['h2'], resume: true }),
  };
  return bootstrap(listeners, [cluster]);
}

/**
 * An HBONE server on port 15008: it opens what the authority names, and answers `refusal` to
 * whoever asks for the port `refused`.
 */
export function hboneServer(
  identity: SidecarIdentity,
  refusal: { readonly authority: string; readonly status: number },
): string {
  const connect = {
    match: { connect_matcher: {} },
    route: {
      cluster: 'authority',
      timeout: '0s',
      upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
    },
  };
  const refuse = {
    match: {
      connect_matcher: {},
      headers: [{ name: ':authority', string_match: { exact: refusal.authority } }],
    },
    direct_response: { status: refusal.status },
  };
  const manager = {
    ...typeOf('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'hbone',
    codec_type: 'HTTP2',
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    route_config: {
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [refuse, connect] }],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: typeOf('envoy.extensions.filters.http.router.v3.Router'),
      },
    ],
  };
  const filters = [
    { name: 'envoy.filters.network.http_connection_manager', typed_config: manager },
  ];
  const transport = serverTls(identity, { alpn: ['h2'], resume: true });
  const listener = {
    name: 'hbone',
    address: address('0.0.0.0', 15_008),
    filter_chains: [{ filters, transport_socket: transport }],
  };
  const cluster = {
    name: 'authority',
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: '5s',
    original_dst_lb_config: { use_http_header: true, http_header_name: ':authority' },
  };
  return bootstrap([listener], [cluster]);
}

/** The same configuration, with Envoy's counters to be read at a port of the loopback. */
export function withCounters(config: string, port: number): string {
  return JSON.stringify({ ...JSON.parse(config), admin: { address: address('127.0.0.1', port) } });
}

/** What Envoy has counted under the names that end so, all together. */
export async function counted(pod: BarePod, port: number, name: string): Promise<number> {
  const stream = await pod.app.connect('127.0.0.1', port);
  await stream.write(
    `GET /stats?filter=${name}$ HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n`,
  );
  const { text } = await stream.readAll();
  const counts = [...text.matchAll(new RegExp(`${name}: (\\d+)`, 'g'))];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Runs Envoy in a pod until the test ends; resolves when it listens at `ports`. */
export async function startEnvoy(
  test: Test,
  options: {
    readonly program: string;
    readonly pod: BarePod;
    readonly config: string;
    /** Where its files go. */
    readonly folder: string;
    readonly ports: readonly number[];
    /** Gets each line of a log that tells what its connections do. */
    readonly heard?: (line: string) => void;
  },
): Promise<void> {
  const { program, pod, config, folder, ports, heard } = options;
  const file = join(folder, 'envoy.json');
  const logFile = join(folder, 'envoy.log');
  writeFileSync(file, config);
  const flags = ['--concurrency', '1', '--disable-hot-restart', '--log-level', 'warning'];
  if (heard !== undefined) {
    flags.push('--component-log-level', 'connection:trace');
  }
  const [first = '', ...rest] = [...pod.inside, program, '--config-path', file, ...flags];
  const child = spawn(first, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.pipe(createWriteStream(logFile));
  if (heard !== undefined) {
    createInterface({ input: child.stderr }).on('line', heard);
  }
  const closed = once(child, 'close');
  test.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  const until = Date.now() + startMsMax;
  const listening = (): boolean => child.exitCode === null && listens(child.pid ?? 0, ports);
  while (!listening()) {
    if (child.exitCode !== null || Date.now() > until) {
      await closed;
      throw new Error(`Envoy does not start: ${readFileSync(logFile, 'utf8').slice(-2_000)}`);
    }
    await wait(20);
  }
}
