// SPDX-License-Identifier: Apache-2.0
// What the control plane says of all pods of the mesh: the agent does it, so it is passed on.
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import { captureKinds, type MeshConfig, sameNodeWays } from '../src/lib/pod-settings.ts';
import type { Update } from '../src/xds/client.ts';
import type { MeshConfigBody, typeUrls } from '../src/xds/wire.ts';

type ConfigUpdate = Extract<Update, { type: typeof typeUrls.meshConfig }>;

function oneOf<T extends string>(text: string, field: string, ways: readonly T[]): T | undefined {
  const found = ways.find((way) => way === text);
  if (text !== '' && found === undefined) {
    throw new MeshError('invalid', `${field} is ${text}, not one of ${ways.join(', ')}`);
  }
  return found;
}

/** Reads the body of a resource. Throws MeshError `invalid`. */
export function meshConfigOf({ capture, sameNode }: MeshConfigBody): MeshConfig {
  return {
    capture: oneOf(capture, 'capture', captureKinds),
    sameNode: oneOf(sameNode, 'sameNode', sameNodeWays),
  };
}

/**
 * Takes updates of the mesh's settings. One that cannot be read is refused, and the last good one
 * stays; without any, each node is left to itself. Main thread only.
 */
export class MeshConfigFollower {
  readonly #onConfig: (config: MeshConfig) => void;
  readonly #log: Logger;

  /** `onConfig` is told of each update, also that there is nothing. */
  constructor(onConfig: (config: MeshConfig) => void, log: Logger) {
    this.#onConfig = onConfig;
    this.#log = log;
  }

  /** Applies one update; returns the rejected names with the reason of each. */
  update({ changed, removed, broken }: ConfigUpdate): ReadonlyMap<string, string> {
    const [entry, ...others] = changed;
    const rejected = new Map(others.map(([name]) => [name, 'a mesh has one configuration']));
    if (entry === undefined) {
      if (removed.length > 0 || broken.length === 0) {
        this.#take({});
      }
      return rejected;
    }
    const [name, body] = entry;
    try {
      this.#take(meshConfigOf(body));
    } catch (error) {
      rejected.set(name, MeshError.from(error).message);
    }
    return rejected;
  }

  #take(config: MeshConfig): void {
    this.#log.info({ config }, 'settings of the mesh');
    this.#onConfig(config);
  }
}
