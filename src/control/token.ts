// SPDX-License-Identifier: Apache-2.0
// `weft token create`: makes a join token from the state folder, with or without a running
// control plane.
import { createHash } from 'node:crypto';
import { Command, InvalidArgumentError, Option } from 'commander';
import { readRoots } from '../ca/authority.ts';
import { mintJoinToken } from '../ca/join-tokens.ts';

/** Shortest and longest life of a token, in seconds. */
export const ttlSecondsMin = 1;
export const ttlSecondsMax: number = 24 * 3600;

const ttlSecondsDefault = 600;

function parseNode(text: string): string {
  if (text.length > 253 || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(text)) {
    throw new InvalidArgumentError('not a node name');
  }
  return text;
}

function parseTtl(text: string): number {
  const seconds = /^[0-9]{1,6}$/.test(text) ? Number(text) : 0;
  if (seconds < ttlSecondsMin || seconds > ttlSecondsMax) {
    throw new InvalidArgumentError(`not a number of seconds in ${ttlSecondsMin}..${ttlSecondsMax}`);
  }
  return seconds;
}

interface TokenOptions {
  readonly node: string;
  readonly state: string;
  readonly ttl: number;
  readonly output: 'text' | 'json';
}

async function create({ node, state, ttl, output }: TokenOptions): Promise<void> {
  const { roots, trustDomain } = await readRoots(state);
  // While a root is rotated the token is good with either, so that it outlives the change.
  const rootSha256 = roots.map((der) => createHash('sha256').update(der).digest('hex'));
  const order = { node, trustDomain, rootSha256, ttlSeconds: ttl };
  const now = new Date();
  const token = await mintJoinToken(state, order, now);
  const expires = new Date(now.getTime() + 1000 * ttl).toISOString();
  const json = (): string => JSON.stringify({ token, node, expires });
  process.stdout.write(`${output === 'json' ? json() : token}\n`);
}

/** Runs `weft token`. Prints the token and returns 0; throws as commander does, or MeshError. */
export async function main(argv: readonly string[]): Promise<number> {
  const command = new Command('weft token').description('join tokens').exitOverride();
  command
    .command('create')
    .description('print a token with which one node joins the mesh, once')
    .requiredOption('--node <name>', 'the name of the node', parseNode)
    .requiredOption('--state <folder>', "the control plane's state folder")
    .option('--ttl <seconds>', 'how long the token can be used', parseTtl, ttlSecondsDefault)
    .addOption(
      new Option('-o, --output <form>', 'how to print').choices(['text', 'json']).default('text'),
    )
    .exitOverride()
    .action(create);
  await command.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' });
  return 0;
}
