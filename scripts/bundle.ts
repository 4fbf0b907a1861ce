// SPDX-License-Identifier: Apache-2.0
// The processes that every node runs, as one file each: dist/NAME.js. From the sources they would
// keep the type stripper, all source text and several hundred modules in memory.
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

// What gRPC would load to describe itself to others, which no process here is asked for: it comes
// with a compiler of protobuf definitions that is larger than all that is written here.
const unused = /^@grpc\/proto-loader$/;

const leftOut: Plugin = {
  name: 'left-out',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: unused }, ({ path }) => ({ path, namespace: 'left-out' }));
    onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `exports.loadSync = () => { throw new Error(${JSON.stringify(`${path} is left out`)}); };`,
    }));
  },
};

// By itself, with its threads: a chunk that is shared with another process holds what that needs.
async function bundleProcess(name: string, main: string, outdir: string): Promise<void> {
  const own = Object.entries(nodeThreads).filter(([, file]) =>
    file.startsWith(`${dirname(main)}/`),
  );
  await build({
    entryPoints: [
      { in: `run:${main}`, out: name },
      ...own.map(([out, file]) => ({ in: file, out })),
    ],
    outdir,
    chunkNames: `${name}-[name]-[hash]`,
    plugins: [entries, leftOut],
    ...{ bundle: true, splitting: true, format: 'esm', platform: 'node', target: 'node26' },
    ...{ minifyWhitespace: true, minifySyntax: true, legalComments: 'none', logLevel: 'silent' },
    absWorkingDir: root,
    // What CommonJS packages call by itself is not there in a module.
    banner: {
      js: "import{createRequire as $require}from'node:module';const require=$require(import.meta.url);",
    },
  });
}

/** Writes all bundles anew. Names stay as they are in the sources, so that stacks can be read. */
export async function bundle(): Promise<void> {
  const outdir = join(root, 'dist');
  rmSync(outdir, { recursive: true, force: true });
  for (const [name, { main }] of Object.entries(nodeProcesses)) {
    await bundleProcess(name, main, outdir);
  }
}
