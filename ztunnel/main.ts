// SPDX-License-Identifier: Apache-2.0
// The process `weft ztunnel`.
import { readFileSync } from 'node:fs';
import { MeshError } from '../src/lib/error.ts';
import { createLog, type Logger, LogSink } from '../src/lib/log.ts';
import { proxyMark } from '../src/lib/ports.ts';
import { type Config, parseConfig } from './config.ts';
import type { NameChange } from './dns/names.ts';
import { DnsProxy } from './dns/proxy.ts';
import { parseResolvConf } from './dns/resolv-conf.ts';
import { NodeProxy } from './node-proxy.ts';

interface Descriptors {
  openPath(path: string): number;
  closeFd(fd: number): void;
}

// Pods that came without resolvers of their own get the node's.
// How long after it is ready a proxy has read and compiled what it goes on with.
const settledMs = 3_000;

function dnsOf(
  { clusterDomain, resolvConf }: Config,
  native: Descriptors,
  names: () => readonly NameChange[],
  log: Logger,
): DnsProxy {
  let nameservers: string[] = [];
  try {
    nameservers = parseResolvConf(readFileSync(resolvConf, 'utf8'));
  } catch (error) {
    log.warn({ reason: MeshError.from(error).message }, 'this node names no resolvers');
  }
  return new DnsProxy({
    clusterDomain,
    names,
    nameservers,
    mark: proxyMark,
    reopen: (netns) => native.openPath(`/proc/self/fd/${netns}`),
    closeFd: native.closeFd,
    log,
  });
}

/**
 * Runs the node proxy until SIGTERM or SIGINT. Returns the exit code: 0 after a drained stop, 1
 * when it cannot start, 2 for bad flags, 3 when this machine cannot run the engine.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const config = parseConfig(argv);
  if (!config.ok) {
    process.stderr.write(config.error.message === '' ? '' : `weft: ${config.error.message}\n`);
    return config.error.message === '' ? 0 : 2;
  }
  const { logLevel } = config.value;
  const sink = new LogSink();
  const log = createLog('ztunnel', logLevel, sink.destination);
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) => {
    stop.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const onSignal = (): void => stop.abort();
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  let proxy: NodeProxy | undefined;
  try {
    const native = await import('../native/index.ts');
    const opened = log.isLevelEnabled('debug');
    const accessLog = { process: 'ztunnel', opened };
    const { engine: settings, workers, bpfPins } = config.value;
    const options = { ...settings, workers, bpfPins, accessLog };
    const transport = { connect: native.connectPackets, closeFd: native.closeFd };
    const engine = (onEvents: ConstructorParameters<typeof native.Engine>[1]) =>
      new native.Engine(options, onEvents);
    const { value } = config;
    const dns = (names: () => readonly NameChange[]): DnsProxy => dnsOf(value, native, names, log);
    const lines = (bytes: Uint8Array): void => sink.write(bytes);
    const quit = (): void => stop.abort();
    const parts = { engine, transport, peerUser: native.peerUser, isNetns: native.isNetns, dns };
    proxy = new NodeProxy(config.value, parts, log, {
      lines,
      quit,
      logDropped: () => sink.dropped,
      // Half of what is resident by then was for the start alone.
      ready: () => void setTimeout(native.releaseStartPages, settledMs).unref(),
    });
    await proxy.start(stop.signal);
    await stopped;
    log.info('draining');
    return 0;
  } catch (thrown) {
    if (stop.signal.aborted) {
      return 0;
    }
    const error = MeshError.from(thrown);
    log.fatal({ code: error.code, reason: error.message }, 'cannot start');
    return error.code === 'unsupported' ? 3 : 1;
  } finally {
    await proxy?.stop();
    sink.flush();
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}
