// SPDX-License-Identifier: Apache-2.0
// An agent's part of capture in a process of its own, which may be killed: loads the programs,
// captures the namespace at a path if it is told one, says so with what became of its parts, and tells
// its counters for each line that comes. With an addon it is that of another build. Usage: capture-process.ts OPTIONS [NETNS ADDRESS...]
import { openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { NodeCapture, type NodeCaptureOptions } from '../../native/capture.ts';

type Options = NodeCaptureOptions & { readonly addon?: string };

const [text = '', netns, ...addresses] = process.argv.slice(2);
const { addon, ...options } = JSON.parse(text) as Options;
const kind: typeof NodeCapture =
  addon === undefined ? NodeCapture : createRequire(import.meta.url)(addon).NodeCapture;
const node = new kind(options);
if (netns !== undefined) {
  node.enrol(openSync(netns, 'r'), addresses, true);
}
process.stdout.write(`${JSON.stringify(node.parts())}\n`);
process.stdin.on('data', () => process.stdout.write(`${JSON.stringify(node.counters())}\n`));
process.stdin.on('end', () => process.exit());
