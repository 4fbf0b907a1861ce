// SPDX-License-Identifier: Apache-2.0
// Which node holds which leaf under which generation of the authority, so that a rotation knows
// when the last one under the old root is gone. A journal: a record is in the file before its
// certificate is answered, so that not even a kill -9 loses a holder.
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../lib/error.ts';
import { ensurePrivateFolder, writePrivateFile } from '../lib/private-files.ts';

/** A leaf that was issued. One of the same node for the same identity takes its place. */
export interface LedgerEntry {
  readonly node: string;
  readonly spiffeId: string;
  readonly generation: string;
  readonly serial: string;
  readonly notAfter: Date;
}

/** Most leaves that are kept track of, unless it is told: 10,000 nodes with 20 identities each. */
export const ledgerEntriesMax = 200_000;

/** Lines beyond the living ones after which the journal is written anew. */
export const staleLinesMax = 10_000;

const fileName = 'leaves.jsonl';
const line = z
  .tuple([z.string(), z.string(), z.string(), z.string(), z.int()])
  .transform(([node, spiffeId, generation, serial, seconds]) => {
    return { node, spiffeId, generation, serial, notAfter: new Date(seconds * 1000) };
  });

function textOf({ node, spiffeId, generation, serial, notAfter }: LedgerEntry): string {
  const seconds = Math.floor(notAfter.getTime() / 1000);
  return `${JSON.stringify([node, spiffeId, generation, serial, seconds])}\n`;
}

function keyOf({ node, spiffeId }: LedgerEntry): string {
  return `${node} ${spiffeId}`;
}

// The last line may be torn: its certificate was never answered.
function parse(text: string): LedgerEntry[] {
  return text.split('\n').flatMap((part) => {
    try {
      return [line.parse(JSON.parse(part))];
    } catch {
      return [];
    }
  });
}

async function readJournal(path: string): Promise<string> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (thrown) {
    const error = MeshError.from(thrown);
    if (error.code === 'unavailable') {
      return '';
    }
    throw error;
  }
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** The ledger of one state folder. One process has it open at a time. */
export class LeafLedger {
  readonly #path: string;
  readonly #entriesMax: number;
  readonly #entries: Map<string, LedgerEntry> = new Map();
  #file: FileHandle | undefined;
  #lines = 0;
  #tail: Promise<void> = Promise.resolve();

  private constructor(path: string, entriesMax: number) {
    this.#path = path;
    this.#entriesMax = entriesMax;
  }

  /** Opens the ledger of a state folder. Leaves that have expired are forgotten. */
  static async open(
    folder: string,
    now: Date,
    entriesMax: number = ledgerEntriesMax,
  ): Promise<LeafLedger> {
    await ensurePrivateFolder(folder);
    const ledger = new LeafLedger(join(folder, fileName), entriesMax);
    for (const entry of parse(await readJournal(ledger.#path))) {
      ledger.#entries.set(keyOf(entry), entry);
    }
    await ledger.#rewrite(now);
    return ledger;
  }

  /**
   * Notes a leaf; once this resolves, a process that takes over knows it too. Rejects with `limit`
   * when there are too many leaves, and as files do.
   */
  record(entry: LedgerEntry, now: Date): Promise<void> {
    const done = this.#tail.then(() => this.#append(entry, now));
    this.#tail = done.catch(() => undefined);
    return done;
  }

  /** The leaves of a generation that are valid still. */
  holders(generation: string, now: Date): LedgerEntry[] {
    return [...this.#entries.values()].filter(
      (entry) => entry.generation === generation && entry.notAfter > now,
    );
  }

  /** Closes the file, after what was recorded. */
  async close(): Promise<void> {
    await this.#tail;
    await this.#file?.close();
    this.#file = undefined;
  }

  async #append(entry: LedgerEntry, now: Date): Promise<void> {
    const isFull = this.#entries.size >= this.#entriesMax;
    if (isFull || this.#lines - this.#entries.size > staleLinesMax) {
      await this.#rewrite(now);
    }
    if (this.#entries.size >= this.#entriesMax && !this.#entries.has(keyOf(entry))) {
      throw new MeshError('limit', `over ${this.#entriesMax} certificates are in use`);
    }
    await this.#file?.appendFile(textOf(entry));
    this.#lines += 1;
    this.#entries.set(keyOf(entry), entry);
  }

  async #rewrite(now: Date): Promise<void> {
    for (const [key, { notAfter }] of this.#entries) {
      if (notAfter <= now) {
        this.#entries.delete(key);
      }
    }
    await this.#file?.close();
    await writePrivateFile(this.#path, [...this.#entries.values()].map(textOf).join(''));
    this.#file = await open(this.#path, 'a', 0o600);
    this.#lines = this.#entries.size;
  }
}
