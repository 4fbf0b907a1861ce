// SPDX-License-Identifier: Apache-2.0
// The process `weft ztunnel`.
import { MeshError } from '../src/lib/error.ts';
import { createLog } from '../src/lib/log.ts';
import { parseConfig } from './config.ts';
import { NodeProxy } from './node-proxy.ts';

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
  const log = createLog('ztunnel', config.value.logLevel);
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
    const options = { ...config.value.engine, workers: config.value.workers };
    const transport = { connect: native.connectPackets, closeFd: native.closeFd };
    const engine = (onEvents: ConstructorParameters<typeof native.Engine>[1]) =>
      new native.Engine(options, onEvents);
    proxy = new NodeProxy(config.value, { engine, transport }, log);
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
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}
