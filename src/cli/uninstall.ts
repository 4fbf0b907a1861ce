// SPDX-License-Identifier: Apache-2.0
// `weft uninstall`: takes out of the kernel what a node's agent left there on purpose.
import { Command } from 'commander';
import { checkStopped, leavePods } from '../cni/leave.ts';
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

async function leave(api: string | undefined, print: Print): Promise<void> {
  if (api === undefined) {
    print('what is in pods stays: without --api it is not known which they are\n');
    return;
  }
  for (const { uid, became } of await leavePods(api)) {
    print(became === 'gone' ? `the pod ${uid} is gone\n` : `nothing is left in the pod ${uid}\n`);
  }
}

interface UninstallFlags {
  readonly bpfPins: string;
  readonly api?: string;
}

/** Exit code 1 when something cannot be removed. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  const command = new Command('weft uninstall')
    .description(
      'Take capture off this node: programs, tables and the guard of addresses, and with --api what is in pods, too: rules of nftables, routes, settings. Stop the agent and the proxy first. Without --api, pods that nftables captures stay so.',
    )
    .option('--api <path>', "the agent's socket, beside which it keeps its list of pods")
    .option('--bpf-pins <folder>', 'where the agent pinned it', defaultPins)
    .action(async ({ bpfPins, api }: UninstallFlags) => {
      const { NodeCapture } = await import('../../native/capture.ts').catch((error: unknown) => {
        throw new MeshError('unsupported', 'the native engine is not built', { cause: error });
      });
      if (api !== undefined) {
        await checkStopped(api);
      }
      NodeCapture.uninstall(bpfPins);
      print(`nothing is pinned in ${bpfPins}\n`);
      await removeGuards(print);
      await removeBridge(print);
      await leave(api, print);
    });
  return await runCommand(command, argv, () => 0);
}
