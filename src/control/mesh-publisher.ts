// SPDX-License-Identifier: Apache-2.0
// From the registry's objects to the streams: what changed, and nothing else, goes all the way.
import type { MeshObject } from '../mesh/objects.ts';
import { type MeshSettings, meshDefaults, type Snapshot } from '../mesh/snapshot.ts';
import { SnapshotBuilder } from '../mesh/snapshot-builder.ts';
import { encodeChange } from '../xds/encode.ts';
import type { AdsServer } from '../xds/server.ts';

/** Sizes of the mesh that is published. */
export interface MeshSizes {
  readonly workloads: number;
  readonly services: number;
  readonly policies: number;
}

/** Keeps what the streams are sent equal to the registry's objects. */
export class MeshPublisher {
  readonly #settings: MeshSettings;
  readonly #builder: SnapshotBuilder;
  readonly #ads: AdsServer;
  #objects: ReadonlySet<MeshObject> = new Set();

  constructor(trustDomain: string, ads: AdsServer) {
    this.#settings = { ...meshDefaults, trustDomain };
    this.#builder = new SnapshotBuilder(this.#settings);
    this.#ads = ads;
  }

  /** The mesh as it was last published. */
  get snapshot(): Snapshot {
    return this.#builder.snapshot;
  }

  /** Publishes a state of the registry. Objects that did not change have to be the same ones. */
  publish(objects: readonly MeshObject[]): MeshSizes {
    const now = new Set(objects);
    const change = this.#builder.apply({
      removed: [...this.#objects].filter((object) => !now.has(object)),
      added: objects.filter((object) => !this.#objects.has(object)),
    });
    this.#objects = now;
    this.#ads.publish(encodeChange(change, this.#settings));
    const { workloads, services, policies } = this.snapshot;
    return { workloads: workloads.size, services: services.size, policies: policies.size };
  }
}
