// SPDX-License-Identifier: Apache-2.0
// Debian's kernels for virtual machines: fetched by apt, kept in the user's cache.
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { MeshError } from '../../src/lib/error.ts';
import { run } from '../steps.ts';

/** A kernel that can be booted. */
export interface Kernel {
  /** As `uname -r` will say. */
  readonly release: string;
  readonly image: string;
  /** Modules in the order in which they can be loaded, uncompressed. */
  readonly modules: readonly string[];
}

/** Packages that depend on the newest kernel of a line. */
const metaPackages = ['linux-image-cloud-amd64', 'linux-image-6.12-cloud-amd64'];

/** What tests need and Debian builds as modules, those that others need first. */
const moduleNames = ['net/ipv4/inet_diag', 'net/ipv4/tcp_diag', 'drivers/net/veth'];

/** The package of the kernel that a package without files depends on, by what apt-cache says. */
export function packageIn(depends: string, line: string): string | undefined {
  const names = [...depends.matchAll(/^\s*Depends: (linux-image-\S+)$/gm)].map(([, name]) => name);
  return names.find((name) => name?.startsWith(`linux-image-${line}.`));
}

async function packageOf(line: string): Promise<string> {
  for (const meta of metaPackages) {
    const depends = await run('apt-cache', ['depends', meta]).catch(() => '');
    const found = packageIn(depends, line);
    if (found !== undefined) {
      return found;
    }
  }
  const tried = metaPackages.join(' and ');
  throw new MeshError(
    'unsupported',
    `apt offers no kernel ${line} by ${tried}: apt-get update, or another suite in its sources`,
  );
}

// Debian moved /lib into /usr, and compresses modules, in newer releases.
async function takeModule(unpacked: string, name: string, folder: string): Promise<void> {
  const [found] = globSync(`{lib,usr/lib}/modules/*/kernel/${name}.ko*`, { cwd: unpacked });
  if (found === undefined) {
    throw new MeshError('unsupported', `the kernel has no module ${name}`);
  }
  const file = join(folder, basename(found));
  copyFileSync(join(unpacked, found), file);
  if (file.endsWith('.xz')) {
    await run('xz', ['--decompress', file]);
  }
}

async function unpack(deb: string, folder: string): Promise<void> {
  const unpacked = mkdtempSync(join(folder, 'unpacked-'));
  await run('dpkg-deb', ['--extract', deb, unpacked]);
  const [image = ''] = globSync('boot/vmlinuz-*', { cwd: unpacked });
  renameSync(join(unpacked, image), join(folder, basename(image)));
  for (const name of moduleNames) {
    await takeModule(unpacked, name, folder);
  }
  rmSync(unpacked, { recursive: true });
  rmSync(deb);
}

async function fetchInto(place: string, name: string): Promise<void> {
  const parent = join(place, '..');
  mkdirSync(parent, { recursive: true });
  const work = mkdtempSync(join(parent, 'tmp-'));
  try {
    // By its own user apt could not write here.
    await run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', name], { cwd: work });
    const [deb = ''] = globSync('*.deb', { cwd: work });
    await unpack(join(work, deb), work);
    renameSync(work, place);
  } catch (cause) {
    rmSync(work, { recursive: true, force: true });
    const { message } = MeshError.from(cause);
    throw new MeshError('unsupported', `${name} cannot be had: ${message}`, { cause });
  }
}

/**
 * The newest kernel of a line such as "6.1" that apt knows; the first time it is fetched. Throws
 * MeshError `unsupported` with the reason when there is none.
 */
export async function kernelOf(line: string): Promise<Kernel> {
  const name = await packageOf(line);
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft/kernels');
  const place = join(cache, name);
  if (!existsSync(place)) {
    await fetchInto(place, name);
  }
  const [image = ''] = globSync('vmlinuz-*', { cwd: place });
  return {
    release: image.replace('vmlinuz-', ''),
    image: join(place, image),
    modules: moduleNames.map((module) => join(place, `${basename(module)}.ko`)),
  };
}
