// SPDX-License-Identifier: Apache-2.0
// An agent's part of capture in a process of its own, which may be killed: loads the programs,
// captures the namespace at a path if it is told one, says so, and waits.
// Usage: capture-process.ts OPTIONS [NETNS ADDRESS...]
import { openSync } from 'node:fs';
import { NodeCapture, type NodeCaptureOptions } from '../../native/capture.ts';

const [options = '', netns, ...addresses] = process.argv.slice(2);
const node = new NodeCapture(JSON.parse(options) as NodeCaptureOptions);
if (netns !== undefined) {
  node.enrol(openSync(netns, 'r'), addresses, true);
}
process.stdout.write('ready\n');
process.stdin.on('end', () => process.exit()).resume();
