// SPDX-License-Identifier: Apache-2.0
// A data plane in a process of its own, which may be stopped or killed: carries the pod whose network
// namespace is at a path, knows nobody, and passes what is for outside the mesh. Says when it is
// ready. Usage: engine-process.ts PINS NETNS
import { closeFd, Engine, openPath } from '../../native/index.ts';
import { workloadOf } from './mesh-pair.ts';

const [bpfPins = '', path = ''] = process.argv.slice(2);
const engine = new Engine({ workers: 2, bpfPins }, () => undefined);
engine.apply({ workloads: [workloadOf('client')], policiesReceived: true });
const netns = openPath(path);
await engine.addPod({ uid: 'client', workloadUid: 'client', spiffeId: '', netns });
closeFd(netns);
process.stdout.write('ready\n');
process.stdin.on('end', () => process.exit()).resume();
