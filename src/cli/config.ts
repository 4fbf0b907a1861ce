// SPDX-License-Identifier: Apache-2.0
// `weft config`: what a proxy was told, and whether a folder of manifests is right.
import { statSync } from 'node:fs';
import { Command } from 'commander';
import { MeshError } from '../lib/error.ts';
import { checkFolder } from '../registry/check-folder.ts';
import { formatProblem, type Problem } from '../registry/problem.ts';
import { askProxy, oneSocket, type ProxyFlags, withProxyFlags } from './admin-client.ts';
import { type OutputForm, type Print, runCommand, toStdout, withOutputFlag } from './output.ts';

function problemsOf(folder: string): Promise<readonly Problem[]> {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new MeshError('invalid', `${folder} is not a folder`);
  }
  return checkFolder(folder);
}

function report(problems: readonly Problem[], form: OutputForm, ok: boolean): string {
  if (form === 'json') {
    return `${JSON.stringify({ ok, problems })}\n`;
  }
  const lines = problems.map((problem) => `${problem.severity}: ${formatProblem(problem)}\n`);
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  return `${lines.join('')}${errors} errors, ${problems.length - errors} warnings\n`;
}

/** `weft config`. `check` answers 2 when there is an error; warnings alone are no failure. */
export async function main(argv: readonly string[], print: Print = toStdout): Promise<number> {
  let code = 0;
  const command = new Command('weft config')
    .description('Show or check configuration.')
    .exitOverride();
  const dump = command
    .command('dump')
    .description("print what a node proxy was told, as JSON in the shape of Istio's ztunnel")
    .exitOverride();
  withOutputFlag(withProxyFlags(dump)).action(
    async (flags: ProxyFlags & { output: OutputForm }) => {
      const text = await askProxy(await oneSocket(flags), '/config_dump');
      const whole = flags.output === 'json' ? text : JSON.stringify(JSON.parse(text), null, 2);
      print(`${whole.trimEnd()}\n`);
    },
  );
  const check = command
    .command('check')
    .description('read a folder of manifests as the control plane would, and say what is wrong')
    .argument('<folder>')
    .exitOverride();
  withOutputFlag(check).action(async (folder: string, { output }: { output: OutputForm }) => {
    const problems = await problemsOf(folder);
    const ok = problems.every(({ severity }) => severity !== 'error');
    code = ok ? 0 : 2;
    print(report(problems, output, ok));
  });
  const words = argv.length === 0 ? ['--help'] : argv;
  return await runCommand(command, words, () => code);
}
