// SPDX-License-Identifier: Apache-2.0
// Decides what is in force when some files of the folder are wrong: a file counts whole, in its
// newest version that is right, and what that leaves dangling is left out.
import type { Problem } from './problem.ts';
import { crossCheck, type ObjectProblem } from './references.ts';
import type { ParsedFile, PlacedObject } from './yaml-file.ts';

/** One file: what it says now, and the last version of it that was in force. */
export interface FileVersions {
  readonly current: ParsedFile;
  readonly good: ParsedFile | undefined;
}

/** The outcome: the objects in force, all that is wrong, and the version each file counts with. */
export interface Merged {
  readonly objects: readonly PlacedObject[];
  readonly problems: readonly Problem[];
  readonly inForce: ReadonlyMap<string, ParsedFile | undefined>;
  /** Whether nothing is wrong between the objects, so that they may go into a `Ledger`. */
  readonly agrees: boolean;
}

/** Whether a file cannot be used as it is. */
export function hasErrors({ problems }: ParsedFile): boolean {
  return problems.some(({ severity }) => severity === 'error');
}

function objectsIn(files: ReadonlyMap<string, ParsedFile | undefined>): PlacedObject[] {
  return [...files.values()].flatMap((file) => file?.objects ?? []);
}

// Leaves objects out until none of the rest is at fault: one that is left out may have been the
// target of another's reference.
function withoutFaulty(placed: readonly PlacedObject[]): {
  readonly objects: readonly PlacedObject[];
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  let objects = placed;
  for (let faults = crossCheck(objects); faults.length > 0; faults = crossCheck(objects)) {
    const faulty = new Set(faults.map(({ object }) => object));
    problems.push(...faults.map(({ problem }) => problem));
    objects = objects.filter((object) => !faulty.has(object));
  }
  return { objects, problems };
}

/**
 * Merges the files, given in the order in which they win over each other. A file whose current
 * version has an error, by itself or against the others, counts with its last good version.
 */
export function mergeFiles(files: ReadonlyMap<string, FileVersions>): Merged {
  const problems: Problem[] = [...files.values()].flatMap(({ current }) => current.problems);
  const ownProblems = problems.length;
  const chosen = new Map<string, ParsedFile | undefined>();
  for (const [name, { current, good }] of files) {
    chosen.set(name, hasErrors(current) ? good : current);
  }
  // Each turn takes at least one file back to its good version, so this ends.
  for (;;) {
    const faults: readonly ObjectProblem[] = crossCheck(objectsIn(chosen));
    const fallBack = faults.filter(({ object: { place } }) => {
      const version = files.get(place.file);
      return version !== undefined && isNewer(version, chosen.get(place.file));
    });
    if (fallBack.length === 0) {
      break;
    }
    problems.push(...fallBack.map(({ problem }) => problem));
    for (const { object } of fallBack) {
      chosen.set(object.place.file, files.get(object.place.file)?.good);
    }
  }
  const kept = withoutFaulty(objectsIn(chosen));
  return {
    objects: kept.objects,
    problems: [...problems, ...kept.problems],
    inForce: chosen,
    agrees: problems.length === ownProblems && kept.problems.length === 0,
  };
}

function isNewer({ current, good }: FileVersions, chosen: ParsedFile | undefined): boolean {
  return chosen === current && current !== good;
}
