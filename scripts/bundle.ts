// SPDX-License-Identifier: Apache-2.0
// The processes that every node runs, as one file each: dist/NAME.js. From the sources they would
// keep the type stripper, all source text and several hundred modules in memory.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { nodeProcesses, nodeThreads } from '../src/lib/node-processes.ts';
import { root } from './steps.ts';

// An entry that runs the main of one process: a main is imported by nobody, so it runs nothing.
const entries: Plugin = {
  name: 'entries',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^run:/ }, ({ path }) => ({ path: path.slice(4), namespace: 'run' }));
    onLoad({ filter: /.*/, namespace: 'run' }, ({ path }) => ({
      contents: `import { main } from ${JSON.stringify(join(root, path))};
process.exitCode = await main(process.argv.slice(2));`,
      resolveDir: root,
    }));
  },
};

/** Writes all bundles anew. Names stay as they are in the sources, so that stacks can be read. */
export async function bundle(): Promise<void> {
  const outdir = join(root, 'dist');
  rmSync(outdir, { recursive: true, force: true });
  await build({
    entryPoints: [
      ...Object.entries(nodeProcesses).map(([name, { main }]) => ({
        in: `run:${main}`,
        out: name,
      })),
      ...Object.entries(nodeThreads).map(([name, file]) => ({ in: file, out: name })),
    ],
    outdir,
    plugins: [entries],
    ...{ bundle: true, splitting: true, format: 'esm', platform: 'node', target: 'node26' },
    ...{ minifyWhitespace: true, minifySyntax: true, legalComments: 'none', logLevel: 'silent' },
    absWorkingDir: root,
    // What CommonJS packages call by itself is not there in a module.
    banner: {
      js: "import{createRequire as $require}from'node:module';const require=$require(import.meta.url);",
    },
  });
}
