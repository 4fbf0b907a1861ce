// SPDX-License-Identifier: Apache-2.0
// Keeps what was measured: every sample, with the machine it was measured on.
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { envoyVersion } from './envoy-install.ts';

/** Where results are kept, in the repository. */
export const resultsFolder: string = join(import.meta.dirname, '../../bench/results');

/** The machine in a few words, for a file's name. */
export function slugOf(model: string): string {
  return model
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** Writes `body` into `folder` as DATE-MACHINE-TOPIC.json and answers the file's path. */
export function saveResults(folder: string, body: object, topic = 'l4'): string {
  mkdirSync(folder, { recursive: true });
  const date = new Date().toISOString();
  const cpu = cpus()[0]?.model ?? 'unknown';
  const memoryGb = Math.round(totalmem() / 1e9);
  const machine = { cpu, cores: cpus().length, memoryGb, kernel: release() };
  const versions = { node: process.version, envoy: envoyVersion };
  const file = join(folder, `${date.slice(0, 10)}-${slugOf(cpu)}-${topic}.json`);
  writeFileSync(file, `${JSON.stringify({ date, machine, versions, ...body }, null, 1)}\n`);
  return file;
}
