// SPDX-License-Identifier: Apache-2.0
// The process `weft control`.
import { createLog } from '../lib/log.ts';
import { parseControlConfig } from './config.ts';
import { ControlPlane } from './control-plane.ts';

/**
 * Runs the control plane until SIGTERM or SIGINT, and returns 0. It logs "ready" with its port once
 * it serves. Throws CommanderError for wrong flags, and MeshError when it cannot start.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const config = parseControlConfig(argv);
  const log = createLog('control', config.logLevel);
  const stop = Promise.withResolvers<string>();
  const onSignal = (signal: NodeJS.Signals): void => stop.resolve(signal);
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    const { plane, port } = await ControlPlane.start(config, log);
    log.info({ port, trustDomain: config.trustDomain }, 'ready');
    const signal = await stop.promise;
    log.info({ signal }, 'stopping');
    await plane.stop();
    return 0;
  } finally {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}
