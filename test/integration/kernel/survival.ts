// SPDX-License-Identifier: Apache-2.0
// What the kernel was told outlives who told it, is taken over by the next, and goes when it is told
// to. Needs root.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NodeCapture } from '../../../native/capture.ts';
import { mustRun } from '../../../src/lib/program.ts';
import { makeNetNamespace } from '../../support/net-namespace.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { published, startNode } = await import('../../support/same-node.ts');
const { addStranger } = await import('../../support/stranger.ts');

const support = join(import.meta.dirname, '../../support');
const port = 8080;
const outsidePort = 9000;

type Ids = Readonly<Record<'programs' | 'maps' | 'links', readonly number[]>>;
const none: Ids = { programs: [], maps: [], links: [] };

async function ids(...args: string[]): Promise<Ids> {
  return JSON.parse(await mustRun('/usr/bin/python3', [join(support, 'bpf_objects.py'), ...args]));
}

async function alive(of: Ids): Promise<Ids> {
  const program = ['/usr/bin/python3', [join(support, 'bpf_objects.py'), 'alive']] as const;
  return JSON.parse(await mustRun(...program, { input: JSON.stringify(of) }));
}

/** Resolves when it has done its part; it ends with the test, or when it is killed. */
async function startAgent(test: Test, pins: string, ...pod: string[]): Promise<ChildProcess> {
  const options = JSON.stringify({ ...KernelCapture.one.options, pins });
  const child = spawn(process.execPath, [join(support, 'capture-process.ts'), options, ...pod], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  test.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

await t.test('another process takes over, and is killed', async (t) => {
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  const outside = await addStranger(t, serverPod);
  await serverPod.app.echo(port);
  await outside.app.echo(outsidePort);
  await published(pair, port, 'direct');
  const open = {
    direct: () => clientPod.app.connect(serverPod.ipv4, port),
    captured: () => serverPod.app.connect(outside.ipv4, outsidePort),
  };
  const old = [await open.direct(), await open.captured()];

  /** Both kinds, old connections and new ones. */
  const goesOn = async (test: Test, when: string): Promise<void> => {
    const steps = counterSteps();
    for (const stream of [...old, await open.direct(), await open.captured()]) {
      await stream.write('x');
      test.equal(await stream.read(1), 'x', when);
    }
    test.match(steps(), { direct_passed: 1, outbound_captured: 1 }, 'each in its way');
  };

  await goesOn(t, 'before');
  const { pins } = KernelCapture.one;
  const before = await ids('pinned', pins);
  const child = await startAgent(t, pins);
  const after = await ids('pinned', pins);
  t.strictSame(after.maps, before.maps, 'the tables stay');
  t.strictSame(after.links, before.links, 'as what is attached does');
  const kept = after.programs.filter((id) => before.programs.includes(id));
  t.equal(after.programs.length, before.programs.length);
  t.equal(
    kept.length,
    2,
    'all programs are new but those of the two pods, until they are enrolled',
  );
  for (const pod of [clientPod, serverPod]) {
    await KernelCapture.one.capture.install(pod.netnsPath);
  }
  const renewed = await ids('pinned', pins);
  t.strictSame(
    renewed.programs.filter((id) => before.programs.includes(id)),
    [],
  );
  await goesOn(t, 'taken over');
  await kill(child);
  await goesOn(t, 'after the other was killed');
});

await t.test('what was killed leaves what uninstall takes away, all of it', async (t) => {
  const pins = mkdtempSync(join(tmpdir(), 'weft-pins-'));
  const pod = await makeNetNamespace();
  t.teardown(() => pod.close());
  const child = await startAgent(t, pins, pod.path, '10.9.9.9', 'fd09::99');
  const made = await ids('pinned', pins);
  t.ok(made.programs.length > 10 && made.maps.length > 10 && made.links.length > 10);
  await kill(child);
  t.strictSame(await alive(made), made, 'all of it stays');
  NodeCapture.uninstall(pins);
  let left = await alive(made);
  // The kernel frees them when nobody can be in them any more.
  for (const until = Date.now() + 10_000; Date.now() < until; left = await alive(made)) {
    if (Object.values(left).every((each) => each.length === 0)) {
      break;
    }
  }
  t.strictSame(left, none);
  t.notOk(existsSync(pins));
});
