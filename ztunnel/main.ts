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
import { Predecessor } from './handover/predecessor.ts';
import { NodeProxy } from './node-proxy.ts';

interface Descriptors {
  openPath(path: string): number;
  closeFd(fd: number): void;
}

// How long after it is ready a proxy has read and compiled what it goes on with.
const settledMs = 3_000;

// Pods that came without resolvers of their own get the node's.
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

type Native = typeof import('../native/index.ts');

/** What ends a process: signals, and what it is told. */
class Ending {
  readonly #stop = new AbortController();
  readonly stopped: Promise<void>;
  #replaced: (() => void) | undefined;

  constructor() {
    this.stopped = new Promise<void>((resolve) => {
      this.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** From now on a first SIGTERM is a supervisor's who has a newer process: only what follows counts. */
  replaced(hurry: () => void): void {
    this.#replaced = hurry;
  }

  onTerminate(log: Logger): void {
    if (this.#replaced === undefined || this.signal.aborted) {
      this.end();
      return;
    }
    this.#stop.abort();
    log.info('another process carries this node: its connections may end by themselves');
  }

  end(): void {
    this.#stop.abort();
    this.#replaced?.();
  }
}

async function proxyOf(
  config: Config,
  native: Native,
  sink: LogSink,
  log: Logger,
  quit: () => void,
): Promise<NodeProxy> {
  const { engine: settings, workers, bpfPins, handoverSocket } = config;
  const { connectPackets: connect, closeFd } = native;
  const predecessor = await Predecessor.find(handoverSocket, { connect, closeFd, log });
  const opened = log.isLevelEnabled('debug');
  const accessLog = { process: 'ztunnel', opened, lines: config.accessLog };
  const takesOver = predecessor !== undefined;
  const options = { ...settings, workers, bpfPins, accessLog, takesOver };
  const parts = {
    engine: (onEvents: ConstructorParameters<Native['Engine']>[1]) =>
      new native.Engine(options, onEvents),
    transport: { connect, closeFd },
    listen: native.listenPackets,
    peerUser: native.peerUser,
    isNetns: native.isNetns,
    dns: (names: () => readonly NameChange[]): DnsProxy => dnsOf(config, native, names, log),
  };
  const hooks = {
    lines: (bytes: Uint8Array): void => sink.write(bytes),
    quit,
    logDropped: () => sink.dropped,
    // Half of what is resident by then was for the start alone.
    ready: () => void setTimeout(native.releaseStartPages, settledMs).unref(),
  };
  return new NodeProxy(config, parts, log, hooks, predecessor);
}

/**
 * Runs the node proxy until SIGTERM or SIGINT, or until another one has taken its place and its
 * connections have ended. Returns the exit code: 0 after a drained stop, 1 when it cannot start, 2
 * for bad flags, 3 when this machine cannot run the engine.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const config = parseConfig(argv);
  if (!config.ok) {
    process.stderr.write(config.error.message === '' ? '' : `weft: ${config.error.message}\n`);
    return config.error.message === '' ? 0 : 2;
  }
  const sink = new LogSink();
  const log = createLog('ztunnel', config.value.logLevel, sink.destination);
  const ending = new Ending();
  const onTerminate = (): void => ending.onTerminate(log);
  const onInterrupt = (): void => ending.end();
  process.on('SIGTERM', onTerminate);
  process.on('SIGINT', onInterrupt);
  let proxy: NodeProxy | undefined;
  try {
    const native = await import('../native/index.ts');
    proxy = await proxyOf(config.value, native, sink, log, onInterrupt);
    const started = proxy;
    started.replaced.then(
      () => ending.replaced(() => started.hurry()),
      () => undefined,
    );
    await started.start(ending.signal);
    await Promise.race([ending.stopped, started.replaced]);
    log.info('draining');
    return 0;
  } catch (thrown) {
    if (ending.signal.aborted) {
      return 0;
    }
    const error = MeshError.from(thrown);
    log.fatal({ code: error.code, reason: error.message }, 'cannot start');
    return error.code === 'unsupported' ? 3 : 1;
  } finally {
    await proxy?.stop();
    sink.flush();
    process.off('SIGTERM', onTerminate);
    process.off('SIGINT', onInterrupt);
  }
}
