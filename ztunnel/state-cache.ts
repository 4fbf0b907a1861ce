// SPDX-License-Identifier: Apache-2.0
// What the control plane last said, on disk: a node proxy that starts while the control plane is
// away serves with it.
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import * as z from 'zod';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import { writePrivateFile } from '../src/lib/private-files.ts';
import type { Taken } from '../src/xds/client.ts';
import {
  DeltaDiscoveryResponseSchema,
  isTypeUrl,
  type Resource,
  type TypeUrl,
} from '../src/xds/wire.ts';
import { checkOwner } from './credential-file.ts';

/** Settings of one cache. */
export interface StateCacheOptions {
  readonly stateDir: string;
  /** The node's name: another node's state is refused. */
  readonly node: string;
  /** State that was confirmed longer ago than this is refused, in milliseconds. */
  readonly maxAgeMs: number;
  /** Whether the control plane answers now, so that what is held is what it says. */
  readonly live: () => boolean;
  readonly log: Logger;
  /** Largest file, in bytes; `stateBytesMax` unless it is told. */
  readonly bytesMax?: number;
}

/** State that was saved. */
export interface SavedState {
  readonly resources: ReadonlyMap<TypeUrl, readonly Resource[]>;
  /** When the control plane last stood behind it. */
  readonly confirmed: Date;
}

/** Largest file that is written or read, in bytes: some 500,000 workloads. */
export const stateBytesMax: number = 256 * 1024 * 1024;

/** State from further ahead than this is refused: it could be of any age. */
export const clockSkewMs = 60_000;

/** How long changes are gathered before they are saved. */
export const saveDelayMs = 500;

/** A save may take this share of the time; the more there is, the less often it is saved. */
const saveShare = 0.05;

/** State that does not change is confirmed anew this many times in its greatest age. */
const confirmationsPerAge = 24;

const formatVersion = 1;
const newline = 0x0a;
const header = z.strictObject({
  format: z.literal(formatVersion),
  node: z.string(),
  confirmed: z.iso.datetime(),
  types: z.array(z.string().refine(isTypeUrl)),
  sha256: z.hex().length(64),
});

interface Facts {
  readonly format: number;
  readonly node: string;
  readonly confirmed: string;
  readonly types: readonly TypeUrl[];
}

// Over everything that counts, so that no part can be another file's.
function hashOf(facts: Facts, body: Uint8Array): string {
  const { format, node, confirmed, types } = facts;
  const head = JSON.stringify([format, node, confirmed, types]);
  return createHash('sha256').update(head).update(body).digest('hex');
}

function refuse(reason: string): MeshError {
  return new MeshError('invalid', reason);
}

function readOwned(path: string, bytesMax: number): Buffer | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return undefined;
    }
    throw MeshError.from(error);
  }
  try {
    checkOwner(file, path, bytesMax);
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

interface Parts {
  readonly facts: Facts & { readonly sha256: string };
  readonly body: Buffer;
}

function split(text: Buffer): Parts {
  const end = text.indexOf(newline);
  if (end < 0) {
    throw refuse('it has no header');
  }
  const parsed = header.safeParse(JSON.parse(text.subarray(0, end).toString('utf8')));
  if (!parsed.success) {
    throw refuse('its header is not of this version');
  }
  return { facts: parsed.data, body: text.subarray(end + 1) };
}

/** Keeps the state on disk equal to what is in force. Main thread only. */
export class StateCache {
  readonly #options: StateCacheOptions;
  readonly #path: string;
  readonly #bytesMax: number;
  readonly #held = new Map<TypeUrl, Map<string, Resource>>();
  readonly #refresh: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> = Promise.resolve();
  #closed = false;
  #lastSaveMs = 0;

  constructor(options: StateCacheOptions) {
    this.#options = options;
    this.#path = join(options.stateDir, 'state.bin');
    this.#bytesMax = options.bytesMax ?? stateBytesMax;
    const everyMs = options.maxAgeMs / confirmationsPerAge;
    this.#refresh = setInterval(() => this.#soon(), Math.min(everyMs, 2 ** 31 - 1));
  }

  /**
   * What was saved; undefined when nothing was, or it is not used: too old, from the future, of another node, broken,
   * or open to others (fail-closed). Why is said in the log.
   */
  load(): SavedState | undefined {
    try {
      const text = readOwned(this.#path, this.#bytesMax);
      return text === undefined ? undefined : this.#checked(text);
    } catch (error) {
      const { message } = MeshError.from(error);
      this.#options.log.warn({ file: this.#path, reason: message }, 'saved state refused');
      return undefined;
    }
  }

  #checked(text: Buffer): SavedState {
    const { node, maxAgeMs } = this.#options;
    const { facts, body } = split(text);
    if (hashOf(facts, body) !== facts.sha256) {
      throw refuse('its hash is wrong');
    }
    if (facts.node !== node) {
      throw refuse(`it is the state of node ${facts.node}`);
    }
    const confirmed = new Date(facts.confirmed);
    const ageMs = Date.now() - confirmed.getTime();
    if (ageMs > maxAgeMs) {
      throw refuse(`it is ${Math.round(ageMs / 1000)} s old, over ${maxAgeMs / 1000} s`);
    }
    if (ageMs < -clockSkewMs) {
      throw refuse(`it is from ${Math.round(-ageMs / 1000)} s ahead of the clock`);
    }
    const resources = new Map<TypeUrl, Resource[]>(facts.types.map((type) => [type, []]));
    for (const resource of fromBinary(DeltaDiscoveryResponseSchema, body).resources) {
      const typeUrl = resource.resource?.typeUrl ?? '';
      const list = isTypeUrl(typeUrl) ? resources.get(typeUrl) : undefined;
      if (list === undefined) {
        throw refuse(`it has a resource of the type ${typeUrl}`);
      }
      list.push(resource);
    }
    return { resources, confirmed };
  }

  /** Notes what is in force. It is saved soon, if the control plane is there to stand behind it. */
  record({ type, resources, removed }: Taken): void {
    const held = this.#held.get(type) ?? new Map<string, Resource>();
    this.#held.set(type, held);
    for (const name of removed) {
      held.delete(name);
    }
    for (const resource of resources) {
      held.set(resource.name, detached(resource));
    }
    this.#soon();
  }

  /** Saves what waits to be saved, and no more after that. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#refresh);
    if (this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      await this.#save();
    }
    await this.#saving;
  }

  #soon(): void {
    // What was restored is not news: it keeps its age until the control plane has confirmed it.
    if (!this.#closed && this.#timer === undefined && this.#options.live()) {
      const waitMs = Math.max(saveDelayMs, this.#lastSaveMs / saveShare);
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        void this.#save();
      }, waitMs);
    }
  }

  #save(): Promise<void> {
    this.#saving = this.#saving
      .then(() => this.#write())
      .catch((error: unknown) => {
        const { message } = MeshError.from(error);
        this.#options.log.error({ file: this.#path, reason: message }, 'state not saved');
      });
    return this.#saving;
  }

  async #write(): Promise<void> {
    const startMs = performance.now();
    const resources = [...this.#held.values()].flatMap((held) => [...held.values()]);
    const message = create(DeltaDiscoveryResponseSchema, { resources });
    const body = toBinary(DeltaDiscoveryResponseSchema, message);
    const facts: Facts = {
      format: formatVersion,
      node: this.#options.node,
      confirmed: new Date().toISOString(),
      types: [...this.#held.keys()],
    };
    const head = JSON.stringify({ ...facts, sha256: hashOf(facts, body) });
    const text = Buffer.concat([Buffer.from(`${head}\n`), body]);
    if (text.length > this.#bytesMax) {
      throw new MeshError('limit', `the state is over ${this.#bytesMax} bytes`);
    }
    await writePrivateFile(this.#path, text);
    this.#lastSaveMs = performance.now() - startMs;
  }
}

// A resource whose bytes do not hold the whole response in memory.
function detached(resource: Resource): Resource {
  const body = resource.resource;
  return body === undefined
    ? resource
    : { ...resource, resource: { ...body, value: body.value.slice() } };
}
