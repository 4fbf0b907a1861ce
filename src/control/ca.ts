// SPDX-License-Identifier: Apache-2.0
// `weft ca`: shows the certificate authority of a running control plane and rotates its root.
import { setTimeout as wait } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { z } from 'zod';
import { askControl } from './command-socket.ts';
import type { RotationVerb } from './rotation.ts';

const status = z.object({
  phase: z.enum(['steady', 'prepared', 'activated']),
  epoch: z.int(),
  since: z.string(),
  walks: z.boolean(),
  waitsFor: z.array(z.string()),
});

type Status = z.infer<typeof status>;

interface Options {
  readonly state: string;
  readonly force?: boolean;
  readonly wait?: boolean;
  readonly output: 'text' | 'json';
}

const pollMs = 250;

function textOf({ phase, epoch, since, walks, waitsFor }: Status): string {
  const head = `${phase}, epoch ${epoch}, since ${since}${walks ? ', goes on by itself' : ''}`;
  return [head, ...waitsFor.map((text) => `  waits for ${text}`)].join('\n');
}

function print(answer: Status, { output }: Options): void {
  process.stdout.write(`${output === 'json' ? JSON.stringify(answer) : textOf(answer)}\n`);
}

async function read(state: string): Promise<Status> {
  return status.parse(await askControl(state, 'GET', '/ca'));
}

async function step(verb: RotationVerb, { state, force = false }: Options): Promise<Status> {
  return status.parse(await askControl(state, 'POST', `/ca/${verb}?force=${force}`));
}

// Follows a rotation to its end. It goes on by itself, with or without somebody who looks.
async function follow(first: Status, options: Options): Promise<Status> {
  let last = first;
  let said = '';
  while (last.phase !== 'steady') {
    const text = textOf(last);
    if (options.output === 'text' && text !== said) {
      said = text;
      process.stdout.write(`${text}\n`);
    }
    await wait(pollMs);
    last = await read(options.state);
  }
  return last;
}

function verbCommand(name: RotationVerb, summary: string): Command {
  return new Command(name)
    .description(summary)
    .option('--force', 'do not wait: connections may fail, and nodes that are away must join again')
    .action(async (options: Options) => print(await step(name, options), options));
}

/** Runs `weft ca`. Prints what was asked for and returns 0; throws as commander does, or MeshError. */
export async function main(argv: readonly string[]): Promise<number> {
  const command = new Command('weft ca')
    .description('the certificate authority of the control plane of this machine')
    .exitOverride();
  const rotate = new Command('rotate')
    .description('replace the root by a new one: prepare, activate and finish, each when it may')
    .option('--no-wait', 'return at once; the rotation goes on by itself')
    .action(async (options: Options) => {
      const first = await step('rotate', options);
      print(options.wait === false ? first : await follow(first, options), options);
    });
  const show = new Command('status')
    .description('show the phase of a rotation and what it waits for')
    .action(async (options: Options) => print(await read(options.state), options));
  const verbs = [
    show,
    rotate,
    verbCommand('prepare', 'make the next root and publish it; nothing is signed by it yet'),
    verbCommand('activate', 'sign with the next root, once every node has it'),
    verbCommand('finish', 'forget the old root, once nothing under it is in use'),
  ];
  for (const verb of verbs) {
    verb
      .requiredOption('--state <folder>', "the control plane's state folder")
      .addOption(new Option('-o, --output <format>').choices(['text', 'json']).default('text'))
      .exitOverride();
    command.addCommand(verb);
  }
  await command.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' });
  return 0;
}
