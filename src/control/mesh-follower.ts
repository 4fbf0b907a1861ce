// SPDX-License-Identifier: Apache-2.0
// Keeps what the streams are sent up to date with the folder of manifests, and says what is wrong
// in it.
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { MeshObject } from '../mesh/objects.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { FileRegistry, type RegistryState } from '../registry/file-registry.ts';
import { formatProblem, type Problem } from '../registry/problem.ts';
import type { AdsServer } from '../xds/server.ts';
import { Debouncer } from './debouncer.ts';
import { MeshPublisher } from './mesh-publisher.ts';

/** A change goes out at once when none came for so long; of a burst, when it is over... */
export const changeQuietMs = 10;

/** ...or so long after its first change. */
export const changeMaxMs = 100;

/** How long the manifests have to be quiet before warnings are looked for among all of them. */
export const warningsQuietMs = 500;

/** Follows one folder of manifests. */
export class MeshFollower {
  readonly #log: Logger;
  readonly #mesh: MeshPublisher;
  readonly #debouncer: Debouncer;
  readonly #beforePublish: (denyLists: readonly MeshObject[]) => void;
  #deniesOthers = true;
  #registry: FileRegistry | undefined;
  #warnings: NodeJS.Timeout | undefined;
  // What was said already, so that it is not said again with every change.
  #said: ReadonlySet<string> = new Set();
  #saidWarnings: ReadonlySet<string> = new Set();

  private constructor(
    trustDomain: string,
    ads: AdsServer,
    log: Logger,
    beforePublish: (denyLists: readonly MeshObject[]) => void,
  ) {
    this.#log = log;
    this.#beforePublish = beforePublish;
    this.#mesh = new MeshPublisher(trustDomain, ads);
    const times = { quietMs: changeQuietMs, maxMs: changeMaxMs };
    this.#debouncer = new Debouncer(
      () => this.#publish(),
      times,
      () => performance.now(),
    );
  }

  /**
   * Reads the folder, publishes it, and goes on to follow it. Throws MeshError: `invalid` when the
   * manifests have errors. Starting with part of the policies would open what the missing part
   * closes.
   *
   * @param beforePublish takes all deny lists when they changed, before the rest goes out, so that
   * nobody is told of a peer before it is told to refuse it.
   */
  static async start(
    folder: string,
    trustDomain: string,
    ads: AdsServer,
    log: Logger,
    beforePublish: (denyLists: readonly MeshObject[]) => void,
  ): Promise<MeshFollower> {
    const follower = new MeshFollower(trustDomain, ads, log, beforePublish);
    const registry = await FileRegistry.open(folder, {
      onState: (state) => follower.#follow(state),
      onTrouble: ({ message }) => log.error({ message }, 'registry cannot follow its folder'),
    });
    follower.#registry = registry;
    const { problems, change } = registry.state;
    if (problems.length > 0) {
      follower.#report(problems, new Set());
      registry.close();
      const text = problems.map(formatProblem).join('\n  ');
      throw new MeshError('invalid', `${folder} has errors:\n  ${text}`);
    }
    follower.#mesh.add(change);
    follower.#publish();
    follower.#reportWarnings();
    return follower;
  }

  /** The mesh as it was last published. */
  get snapshot(): Snapshot {
    return this.#mesh.snapshot;
  }

  /** Stops following. */
  stop(): void {
    this.#registry?.close();
    this.#debouncer.stop();
    clearTimeout(this.#warnings);
  }

  #follow({ problems, change }: RegistryState): void {
    this.#said = this.#report(problems, this.#said);
    this.#mesh.add(change);
    this.#deniesOthers ||= [...change.removed, ...change.added].some(isDenyList);
    this.#debouncer.trigger();
    clearTimeout(this.#warnings);
    this.#warnings = setTimeout(() => this.#reportWarnings(), warningsQuietMs);
  }

  #publish(): void {
    if (this.#deniesOthers) {
      this.#deniesOthers = false;
      this.#beforePublish([...(this.#registry?.state.objects ?? [])].filter(isDenyList));
    }
    // The node authorizer and the streams change over in the same turn.
    const sizes = this.#mesh.publish();
    // What was written to the streams leaves at the end of this turn; the log can wait for that.
    setImmediate(() => this.#log.info({ ...sizes }, 'snapshot'));
  }

  #reportWarnings(): void {
    const warnings = this.#registry?.warnings() ?? [];
    this.#saidWarnings = this.#report(warnings, this.#saidWarnings);
  }

  #report(problems: readonly Problem[], said: ReadonlySet<string>): ReadonlySet<string> {
    const now = new Set<string>();
    for (const problem of problems) {
      const text = formatProblem(problem);
      if (!said.has(text) && !now.has(text)) {
        const { severity, file, line, field, message } = problem;
        const level = severity === 'error' ? 'error' : 'warn';
        this.#log[level]({ file, line, field, reason: message }, 'manifest');
      }
      now.add(text);
    }
    return now;
  }
}

function isDenyList({ kind }: MeshObject): boolean {
  return kind === 'DenyList';
}
