// SPDX-License-Identifier: Apache-2.0
// `weft uninstall`: takes out of the kernel what a node's agent left there on purpose.
import { Command } from 'commander';
import { MeshError } from '../lib/error.ts';
import { defaultPins } from '../lib/node-places.ts';
import { mustRun, runProgram } from '../lib/program.ts';
import { type Print, runCommand, toStdout } from './output.ts';

// What src/cni/guard.ts calls its tables, of every layout, and src/cni/guard-probe.ts those of a try
// that was killed, with the bridge that it makes.
const guardTable = /^table (inet|bridge) (weft_guard_(?:\d+|probe))$/;
const guardBridge = 'weftgbr';

async function removeGuards(print: Print): Promise<void> {
  const listed = await runProgram('nft', ['list', 'tables']).catch(() => undefined);
  for (const line of listed?.stdout.split('\n') ?? []) {
    const [, family = '', name = ''] = guardTable.exec(line) ?? [];
    if (name !== '') {
      await mustRun('nft', ['delete', 'table', family, name]);
      print(`removed the nftables table ${family} ${name}\n`);
    }
  }
}

async function removeBridge(print: Print): Promise<void> {
  const removed = await runProgram('ip', ['link', 'del', guardBridge]).catch(() => undefined);
  print(removed?.code === 0 ? `removed the bridge ${guardBridge}\n` : '');
}

/** Exit code 1 when something cannot be removed. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  const command = new Command('weft uninstall')
    .description(
      'Take capture in the kernel off this node: programs, tables, the guard of addresses. Stop the agent and the proxy first; pods that the kernel captured are then uncaptured, those of nftables keep their rules until they are un-enrolled.',
    )
    .option('--bpf-pins <folder>', 'where the agent pinned it', defaultPins)
    .action(async ({ bpfPins }: { readonly bpfPins: string }) => {
      const { NodeCapture } = await import('../../native/capture.ts').catch((error: unknown) => {
        throw new MeshError('unsupported', 'the native engine is not built', { cause: error });
      });
      NodeCapture.uninstall(bpfPins);
      print(`nothing is pinned in ${bpfPins}\n`);
      await removeGuards(print);
      await removeBridge(print);
    });
  return await runCommand(command, argv, () => 0);
}
