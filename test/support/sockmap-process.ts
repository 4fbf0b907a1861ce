// SPDX-License-Identifier: Apache-2.0
// An agent that has the sockmap tier, whatever its gates say: takes in the connections of pods whose
// network namespaces it is told, once for each line of input, and says so.
import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type NodeCaptureOptions, SockmapTier } from '../../native/capture.ts';

const [options = '', ...paths] = process.argv.slice(2);
const tier = new SockmapTier(JSON.parse(options) as NodeCaptureOptions);
const pods = paths.map((path) => openSync(path, 'r'));
for await (const _ of createInterface({ input: process.stdin })) {
  for (const netns of pods) {
    tier.promote(netns);
  }
  process.stdout.write('promoted\n');
}
