// SPDX-License-Identifier: Apache-2.0
// Third-party sources by our own lock file. Cargo is the downloader; nothing of Rust is built.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { run } from './steps.ts';

/** One line of native/deps/sources.lock. */
export interface Source {
  readonly name: string;
  readonly version: string;
  /** Hex SHA-256 of the crate file. */
  readonly sha256: string;
}

const linePattern = /^([a-z0-9-]+)\s+(\d[\w.+-]*)\s+([0-9a-f]{64})$/;

/** Reads the lock file's text. Throws MeshError `invalid`, naming the line that is wrong. */
export function parseLock(text: string): Source[] {
  const sources: Source[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) {
      continue;
    }
    const [, name, version, sha256] = linePattern.exec(line.trim()) ?? [];
    if (name === undefined || version === undefined || sha256 === undefined) {
      throw new MeshError('invalid', `sources.lock:${index + 1}: want name, version, SHA-256`);
    }
    if (sources.some((source) => source.name === name)) {
      throw new MeshError('invalid', `sources.lock:${index + 1}: ${name} is listed twice`);
    }
    sources.push({ name, version, sha256 });
  }
  return sources;
}

/** The manifest that makes cargo fetch exactly these versions. */
export function manifestOf(sources: readonly Source[]): string {
  const wanted = sources.map(
    // A requirement must not carry build metadata ("+1.68.1").
    ({ name, version }) =>
      `${name} = { version = "=${version.replace(/\+.*/, '')}", default-features = false }`,
  );
  return [
    '[package]',
    'name = "native-deps"',
    'version = "0.0.0"',
    'edition = "2021"',
    'publish = false',
    '[lib]',
    'path = "/dev/null"',
    '[dependencies]',
    ...wanted,
    '',
  ].join('\n');
}

/** Throws MeshError `denied` when the checksum file cargo left for `source` is not the locked one. */
export function checkDigest(source: Source, checksumJson: string): void {
  const seen = (JSON.parse(checksumJson) as { package?: unknown }).package;
  if (seen !== source.sha256) {
    throw new MeshError(
      'denied',
      `${source.name} ${source.version}: SHA-256 is ${String(seen)}, locked is ${source.sha256}`,
    );
  }
}

/**
 * Downloads the locked sources to `folder`/vendor, one folder "name-version" each, and checks
 * them. What cargo brings along besides (helpers of build scripts) is deleted unbuilt.
 */
export async function fetchSources(lock: string, folder: string): Promise<string> {
  const sources = parseLock(lock);
  const vendor = join(folder, 'vendor');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'Cargo.toml'), manifestOf(sources));
  await run('cargo', ['vendor', '--quiet', '--versioned-dirs', vendor], { cwd: folder });
  const wanted = new Set(sources.map(({ name, version }) => `${name}-${version}`));
  for (const entry of readdirSync(vendor)) {
    if (!wanted.has(entry)) {
      rmSync(join(vendor, entry), { recursive: true });
    }
  }
  for (const source of sources) {
    const file = join(vendor, `${source.name}-${source.version}`, '.cargo-checksum.json');
    checkDigest(source, readFileSync(file, 'utf8'));
  }
  return vendor;
}
