// SPDX-License-Identifier: Apache-2.0
// The launcher's entry: one verb, one module, loaded only when it is asked for.
import { Command, CommanderError } from 'commander';
import { MeshError } from '../lib/error.ts';

/** Exit codes of every verb. */
const exitCodes = { ok: 0, failed: 1, badUsage: 2, machineLacks: 3 } as const;

/** What a verb's module offers: it gets what stands behind the verb and returns the exit code. */
interface VerbModule {
  main(argv: readonly string[]): Promise<number>;
}

interface Verb {
  readonly name: string;
  readonly summary: string;
  load(): Promise<VerbModule>;
}

const verbs: readonly Verb[] = [
  {
    name: 'lab',
    summary: 'build two nodes of network namespaces on this machine and show the mesh at work',
    load: () => import('../lab/main.ts'),
  },
  {
    name: 'control',
    summary: 'run the control plane: registry, xDS and CA on one TLS port',
    load: () => import('../control/main.ts'),
  },
  {
    name: 'ztunnel',
    summary: "run the node proxy that carries pods' TCP in mutual TLS",
    load: () => import('../../ztunnel/main.ts'),
  },
  {
    name: 'cni',
    summary: "run the node agent that enrols pods' network namespaces",
    load: () => import('../cni/main.ts'),
  },
  {
    name: 'bench',
    summary: 'measure the mesh against the bare link and Envoy, on a lab of its own',
    load: () => import('../bench/main.ts'),
  },
  {
    name: 'status',
    summary: 'show whether the node proxies of this machine are ready, and what they carry',
    load: () => import('./status.ts'),
  },
  {
    name: 'explain',
    summary: 'say what becomes of a connection, and why',
    load: () => import('./explain.ts'),
  },
  {
    name: 'connections',
    summary: 'show the connections that are open',
    load: () => import('./connections.ts'),
  },
  {
    name: 'certs',
    summary: 'show the certificates that the node proxies hold',
    load: () => import('./certs.ts'),
  },
  {
    name: 'config',
    summary: 'show what a proxy was told, or check a folder of manifests',
    load: () => import('./config.ts'),
  },
  {
    name: 'token',
    summary: 'create a join token for a node',
    load: () => import('../control/token.ts'),
  },
  {
    name: 'ca',
    summary: 'show the certificate authority, and rotate its root',
    load: () => import('../control/ca.ts'),
  },
  {
    name: 'check',
    summary: 'show what this machine can do for the mesh',
    load: () => import('./check.ts'),
  },
  {
    name: 'uninstall',
    summary: 'take capture in the kernel off this node',
    load: () => import('./uninstall.ts'),
  },
  {
    name: 'version',
    summary: 'print the versions of Weft and of what is linked into it',
    load: () => import('./version.ts'),
  },
];

function programOf(run: (verb: Verb, argv: readonly string[]) => Promise<void>): Command {
  const program = new Command('weft')
    .description('A service mesh without sidecars.')
    .usage('VERB [options]')
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .addHelpText(
      'after',
      `
  setup [--yes]       install what is missing and build; every verb does it by itself
  test [PATH...]      run every test, or those named

"weft VERB --help" tells about one verb. Start with  sudo ./weft lab`,
    )
    .exitOverride()
    .enablePositionalOptions();
  for (const verb of verbs) {
    program
      .command(verb.name)
      .summary(verb.summary)
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .passThroughOptions()
      .action((_options, command: Command) => run(verb, command.args));
  }
  program.command('help', { hidden: true }).action(() => program.outputHelp());
  return program;
}

function exitCodeOf(error: MeshError): number {
  if (error.code === 'invalid') {
    return exitCodes.badUsage;
  }
  return error.code === 'unsupported' ? exitCodes.machineLacks : exitCodes.failed;
}

/** Runs the verb in `argv` (no program name in it) and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  let code: number = exitCodes.ok;
  const program = programOf(async (verb, args) => {
    code = await (await verb.load()).main(args);
  });
  try {
    await program.parseAsync(argv.length === 0 ? ['--help'] : [...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? exitCodes.ok : exitCodes.badUsage;
    }
    const known = MeshError.from(error);
    process.stderr.write(`weft: ${known.message}\n`);
    return exitCodeOf(known);
  }
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2));
}
