// SPDX-License-Identifier: Apache-2.0
// From the registry's objects to the streams: what changed, and nothing else, goes all the way.
import type { MeshChange, MeshObject } from '../mesh/objects.ts';
import { type MeshSettings, meshDefaults, type Snapshot } from '../mesh/snapshot.ts';
import { SnapshotBuilder } from '../mesh/snapshot-builder.ts';
import { encodeChange, encodeMeshConfig, type ResourceChange } from '../xds/encode.ts';
import type { AdsServer } from '../xds/server.ts';
import { typeUrls } from '../xds/wire.ts';

/** Sizes of the mesh that is published. */
export interface MeshSizes {
  readonly workloads: number;
  readonly services: number;
  readonly policies: number;
}

function configChange({ removed, added }: MeshChange): ResourceChange {
  const configs = (objects: readonly MeshObject[]) =>
    objects.flatMap(({ kind, value }) => (kind === 'MeshConfig' ? [value] : []));
  const changed = configs(added).map(encodeMeshConfig);
  const stays = new Set(changed.map(({ name }) => name));
  const gone = configs(removed).map(({ name }) => name);
  return { changed, removed: gone.filter((name) => !stays.has(name)) };
}

/** Keeps what the streams are sent equal to the registry's objects. */
export class MeshPublisher {
  readonly #settings: MeshSettings;
  readonly #builder: SnapshotBuilder;
  readonly #ads: AdsServer;
  // What was not published yet.
  #removed: Set<MeshObject> = new Set();
  #added: Set<MeshObject> = new Set();

  constructor(trustDomain: string, ads: AdsServer) {
    this.#settings = { ...meshDefaults, trustDomain };
    this.#builder = new SnapshotBuilder(this.#settings);
    this.#ads = ads;
  }

  /** The mesh as it was last published. */
  get snapshot(): Snapshot {
    return this.#builder.snapshot;
  }

  /** Takes a change of the registry, to be published with others. */
  add({ removed, added }: MeshChange): void {
    for (const object of removed) {
      // What came and went again was never there.
      if (!this.#added.delete(object)) {
        this.#removed.add(object);
      }
    }
    for (const object of added) {
      if (!this.#removed.delete(object)) {
        this.#added.add(object);
      }
    }
  }

  /** Publishes what was added since the last time. */
  publish(): MeshSizes {
    const objects = { removed: [...this.#removed], added: [...this.#added] };
    const change = this.#builder.apply(objects);
    this.#removed = new Set();
    this.#added = new Set();
    this.#ads.publish({
      [typeUrls.meshConfig]: configChange(objects),
      ...encodeChange(change, this.#settings),
    });
    const { workloads, services, policies } = this.snapshot;
    return { workloads: workloads.size, services: services.size, policies: policies.size };
  }
}
