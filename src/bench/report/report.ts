// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { MeshError } from '../../lib/error.ts';
import { readResults } from '../results.ts';
import { chartsOf } from './charts.ts';
import { compare } from './compare.ts';
import { pageOf } from './page.ts';

/**
 * Draws one file of results, or an older and a newer one, into the page `out`, and answers its
 * path. Throws MeshError `invalid` when a file is none.
 */
export async function writeReport(files: readonly string[], out: string): Promise<string> {
  const [first, second, ...more] = files.map(readResults);
  if (first === undefined || more.length > 0) {
    throw new MeshError('invalid', 'one file of results is drawn, or two are compared');
  }
  const file = second ?? first;
  const older =
    second === undefined ? {} : { older: { file: first, changes: compare(first, second) } };
  writeFileSync(out, pageOf({ file, charts: await chartsOf(file), ...older }));
  return out;
}
