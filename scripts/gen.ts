// SPDX-License-Identifier: Apache-2.0
// TypeScript (JavaScript with declarations) from the protobuf schemas: X/proto/*.proto -> X/gen/.
import { globSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, run } from './steps.ts';

/** The folders that hold a proto/ folder with schemas, relative to `base`. */
export function schemaFolders(base: string): string[] {
  const files = globSync('{native,src/*}/proto/*.proto', { cwd: base });
  return [...new Set(files.map((file) => dirname(dirname(file))))].sort();
}

/** Generates every gen/ folder anew; each is replaced whole once it is complete. */
export async function generate(): Promise<void> {
  const plugin = join(root, 'node_modules/.bin/protoc-gen-es');
  for (const folder of schemaFolders(root)) {
    const fresh = join(root, folder, 'gen.new');
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh);
    await run(
      'protoc',
      [
        `--plugin=protoc-gen-es=${plugin}`,
        `--es_out=${fresh}`,
        '--es_opt=target=js+dts,import_extension=js',
        ...['-I', join(root, folder, 'proto')],
        ...globSync(join(root, folder, 'proto/*.proto')),
      ],
      // The plug-in is a Node program: it must not meet an older Node of the system.
      { env: { PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}` } },
    );
    const target = join(root, folder, 'gen');
    rmSync(target, { recursive: true, force: true });
    renameSync(fresh, target);
  }
}
