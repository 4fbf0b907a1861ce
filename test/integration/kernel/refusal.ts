// SPDX-License-Identifier: Apache-2.0
// A kernel that refuses a part of capture: agents on such a one take over from agents that have all of
// it, and the other way round. What is captured stays so, and no connection fails on the way. Needs
// root and a C compiler.
process.env['WEFT_TEST_CAPTURE'] = 'ebpf';

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { LoadedPart } from '../../../native/capture.ts';
import { type Refused, refusal, refusingKernel } from '../../support/refusing-kernel.ts';

const { KernelCapture } = await import('../../support/kernel-capture.ts');
const { counterSteps } = await import('../../support/kernel-counters.ts');
const { published, startNode } = await import('../../support/same-node.ts');
const { addStranger } = await import('../../support/stranger.ts');

const support = join(import.meta.dirname, '../../support');
const port = 8080;
const outsidePort = 9000;

/** What is lost with it, and the programs that are not attached then. */
const kernels: readonly {
  readonly refuses: Refused;
  readonly lost: readonly string[];
  readonly gone: readonly string[];
}[] = [
  { refuses: { programs: ['weft_recvmsg4'] }, lost: ['dns'], gone: ['sendmsg', 'recvmsg'] },
  { refuses: { programs: ['weft_getsocknam'] }, lost: ['own_name'], gone: ['getsockname'] },
  { refuses: { maps: ['weft_services'] }, lost: ['services'], gone: [] },
  { refuses: { maps: ['weft_directs'] }, lost: ['direct', 'services'], gone: ['sock_release'] },
  { refuses: { maps: ['weft_verdicts'] }, lost: ['direct', 'services'], gone: ['sock_release'] },
];

/** An agent that puts its programs in the place of those that are there, and ends. */
async function takeOver(env: Record<string, string>): Promise<LoadedPart[]> {
  const { WEFT_TEST_CAPTURE: _, ...inherited } = process.env;
  const options = JSON.stringify(KernelCapture.one.options);
  const child = spawn(process.execPath, [join(support, 'capture-process.ts'), options], {
    env: { ...inherited, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const [said] = await Promise.race([once(child.stdout, 'data'), ended]);
  child.stdin.end();
  await ended;
  return JSON.parse(String(said)) as LoadedPart[];
}

const attached = (): string[] => readdirSync(join(KernelCapture.one.pins, 'v2/links')).sort();

await t.test('parts are lost one by one, and come back', async (t) => {
  const kernel = await refusingKernel(t);
  const pair = await startNode(t);
  const { clientPod, serverPod } = pair;
  const outside = await addStranger(t, serverPod);
  await serverPod.app.echo(port);
  await outside.app.echo(outsidePort);
  await published(pair, port, 'direct');
  const answers: Record<string, number> = {};
  const echo = async (open: () => ReturnType<typeof clientPod.app.connect>): Promise<void> => {
    const stream = await open();
    await stream.write('x');
    const answer = await stream.read(1);
    await stream.end();
    answers[answer] = (answers[answer] ?? 0) + 1;
  };
  const within = () => clientPod.app.connect(serverPod.ipv4, port);
  const without = () => serverPod.app.connect(outside.ipv4, outsidePort);
  const all = attached();
  const old = [await within(), await without()];
  let isWatched = true;
  const watch = async (): Promise<void> => {
    while (isWatched) {
      await echo(without);
      await echo(within);
    }
  };
  const watched = watch();

  for (const { refuses, lost, gone } of kernels) {
    await t.test(`without ${lost.join(' and ')}: ${JSON.stringify(refuses)}`, async (t) => {
      const parts = await takeOver(kernel(refuses));
      const refused = parts.filter(({ works }) => !works);
      t.strictSame(
        refused.map(({ name }) => name),
        lost,
      );
      t.match(refused[0]?.reason, refusal, 'the verifier is heard');
      t.strictSame(
        attached(),
        all.filter((program) => !gone.some((hook) => program.includes(hook))),
      );
      const steps = counterSteps();
      await echo(without);
      await echo(within);
      const { direct_passed: direct = 0, outbound_captured: captured = 0 } = steps();
      t.ok(captured > 0, 'capture goes on');
      t.equal(direct > 0, !lost.includes('direct'), 'and so do direct connections, if not lost');
    });

    await t.test('and with all of it again', async (t) => {
      const parts = await takeOver({});
      t.ok(parts.every(({ works }) => works));
      t.strictSame(attached(), all);
      const steps = counterSteps();
      await echo(within);
      t.ok((steps()['direct_passed'] ?? 0) > 0);
    });
  }

  isWatched = false;
  await watched;
  t.strictSame(Object.keys(answers), ['x'], JSON.stringify(answers));
  for (const stream of old) {
    await stream.write('x');
    t.equal(await stream.read(1), 'x', 'what was open goes on');
  }
});

await t.test(
  'a kernel that refuses capture itself is told from one that refuses a part',
  async (t) => {
    const kernel = await refusingKernel(t);
    const before = attached();
    const { WEFT_TEST_CAPTURE: _, ...inherited } = process.env;
    const options = JSON.stringify(KernelCapture.one.options);
    const child = spawn(process.execPath, [join(support, 'capture-process.ts'), options], {
      env: { ...inherited, ...kernel({ maps: ['weft_pods'] }) },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (data: Buffer) => {
      said += data.toString();
    });
    await once(child, 'close');
    t.match(said, refusal);
    t.strictSame(attached(), before, 'nothing has changed');
  },
);
