// SPDX-License-Identifier: Apache-2.0
// What a kernel refuses of capture, as an agent's status and metrics say it. Needs root and a C
// compiler.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { NodeCapture } from '../../../../native/capture.ts';
import { main } from '../../../../src/cli/status.ts';
import { cgroup2RootOf } from '../../../../src/lib/machine.ts';
import { type Refused, refusingKernel } from '../../../support/refusing-kernel.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const launcher = new URL('../../../../src/cli/main.ts', import.meta.url).pathname;
const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8')) ?? '';

/** An agent on such a kernel that is ready: what `weft status` says of it, and its metrics. */
async function statusOn(
  t: Test,
  kernel: (refused: Refused) => Record<string, string>,
  refused: Refused,
): Promise<{ status: string; metrics: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-lost-'));
  const cgroup = join(root, `weft-lost-${process.pid}`);
  const pins = join(folder, 'pins');
  mkdirSync(cgroup);
  const places = ['--zds', `${folder}/zds.sock`, '--api', `${folder}/cni.sock`];
  const capture = ['--capture', 'ebpf', '--bpf-pins', pins, '--pods-cgroup', cgroup];
  const flags = ['--node', 'n', '--proxy-cgroup', cgroup, '--same-node', 'tunnel'];
  const all = [launcher, 'cni', ...flags, ...places, ...capture, '--metrics', '127.0.0.1:0'];
  const agent = spawn(process.execPath, all, {
    env: { ...process.env, ...kernel(refused) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(agent, 'exit');
  t.teardown(async () => {
    agent.kill('SIGKILL');
    await ended;
    NodeCapture.uninstall(pins);
    rmdirSync(cgroup);
    rmSync(folder, { recursive: true });
  });
  let port = '';
  for await (const line of createInterface({ input: agent.stdout })) {
    const { msg, metrics } = JSON.parse(line) as { msg: string; metrics?: number };
    port = metrics === undefined ? port : String(metrics);
    if (msg === 'ready') {
      break;
    }
  }
  let status = '';
  await main(['--socket', join(folder, 'admin.sock')], (text) => {
    status += text;
  });
  return { status, metrics: await (await fetch(`http://127.0.0.1:${port}/metrics`)).text() };
}

t.test('what is lost is named, with the word of the verifier', { skip }, async (t) => {
  const kernel = await refusingKernel(t);
  for (const [name, refused, word] of [
    ['dns', { programs: ['weft_sendmsg6'] }, 'weft_sendmsg6'],
    ['services', { maps: ['weft_picks'] }, 'weft_connect4'],
    ['direct', { maps: ['weft_directs'] }, 'weft_sockops'],
  ] as const) {
    await t.test(name, async (t) => {
      const { status, metrics } = await statusOn(t, kernel, refused);
      const said = `${name}: ${word}: invalid bpf_context access off=32760 size=4`;
      t.match(status, new RegExp(`cni\\.sock +kernel .*${said}`));
      t.match(metrics, `weft_capture_feature{feature="${name}",result="no"} 1`);
      t.match(metrics, 'weft_capture_feature{feature="own_name",result="yes"} 1');
      t.match(metrics, 'weft_capture_tier{tier="kernel"} 1');
    });
  }
});
